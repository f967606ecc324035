package load

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// clockTicks is USER_HZ, the unit of CPU times in /proc; it is 100 on every
// architecture that Go supports.
const clockTicks = 100

// OwnCPU is the CPU time of this process in seconds.
func OwnCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// TreeCPU is the CPU time in seconds of the processes and of all their
// descendants that run now; what has ended counts with the parent that waited
// for it.
func TreeCPU(pids ...int) (float64, error) {
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(entries) == 0 {
		return 0, errors.Join(errors.New("no processes in /proc"), err)
	}
	children, ticks := map[int][]int{}, map[int]uint64{}
	for _, path := range entries {
		line, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it ended meanwhile
		}
		if err != nil {
			return 0, err
		}
		p, err := parseStat(line)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		children[p.parent] = append(children[p.parent], p.pid)
		ticks[p.pid] = p.ticks
	}
	var total uint64
	seen := map[int]bool{}
	for waiting := pids; len(waiting) > 0; waiting = waiting[1:] {
		pid := waiting[0]
		if !seen[pid] {
			seen[pid] = true
			total += ticks[pid]
			waiting = append(waiting, children[pid]...)
		}
	}
	return float64(total) / clockTicks, nil
}

// processStat is what TreeCPU needs of a line of /proc/PID/stat.
type processStat struct {
	pid, parent int
	ticks       uint64 // own and waited-for children's, user and system
}

// parseStat reads a line of /proc/PID/stat (man 5 proc). The command's name
// stands in parentheses and may itself hold spaces and parentheses.
func parseStat(line []byte) (processStat, error) {
	bad := errors.New("not a line of process statistics")
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return processStat{}, bad
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	rest := bytes.Fields(line[end+1:]) // rest[0] is field 3, the state
	if err != nil || len(rest) < 15 {
		return processStat{}, bad
	}
	p := processStat{pid: pid}
	if p.parent, err = strconv.Atoi(string(rest[1])); err != nil {
		return processStat{}, bad
	}
	for _, field := range rest[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseUint(string(field), 10, 63)
		if err != nil {
			return processStat{}, bad
		}
		p.ticks += n
	}
	return p, nil
}
