// Command coverage holds the test coverage to its floors: 80 % of all
// statements, and every statement of the code that decides who may speak, how
// money is split and what the ethical audit says.
//
// Usage: coverage PROFILE
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strings"
)

const floor = 80.0

// complete lists what must be covered whole: a folder (ending in '/') or the
// start of a file's path, below the module.
var complete = []string{"pods/anubis/", "pods/tcep/", "pods/isabella/audit"}

const module = "tamv.internal/tamv/"

// block is one basic block of the profile; several test binaries may have
// counted it.
type block struct {
	file, span string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: coverage PROFILE")
	}
	statements, covered, err := read(args[0])
	if err != nil {
		return err
	}
	var total, hit int
	var open []string
	for b, n := range statements {
		total += n
		if covered[b] {
			hit += n
			continue
		}
		for _, prefix := range complete {
			if strings.HasPrefix(b.file, prefix) {
				open = append(open, b.file+":"+b.span)
			}
		}
	}
	percent := 100 * float64(hit) / float64(max(total, 1))
	fmt.Printf("coverage: %.1f %% of %d statements\n", percent, total)
	if len(open) > 0 {
		sort.Strings(open)
		return fmt.Errorf("not covered, and must be:\n  %s", strings.Join(open, "\n  "))
	}
	if percent < floor {
		return fmt.Errorf("%.1f %% is below %.0f %%", percent, floor)
	}
	return nil
}

// read sums up a profile as "go test -coverprofile" writes it.
func read(path string) (statements map[block]int, covered map[block]bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	statements, covered = map[block]int{}, map[block]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		file, rest, ok := strings.Cut(lines.Text(), ":")
		if !ok || file == "mode" {
			continue
		}
		var b block
		var n, count int
		if _, err := fmt.Sscan(rest, &b.span, &n, &count); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		b.file = strings.TrimPrefix(file, module)
		statements[b] = n
		covered[b] = covered[b] || count > 0
	}
	return statements, covered, lines.Err()
}
