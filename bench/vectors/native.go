package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"tamv.internal/tamv/cmd/tamvbench/vectors"
)

//go:embed programs
var sources embed.FS

// native is a peer in C++ that is compiled here, for this processor.
type native struct {
	name     string
	header   string   // without it the library is not installed
	debian   string   // package that has it
	compiler []string // further flags
	libs     []string
}

var (
	hnswlib = native{name: "hnswlib", header: "hnswlib/hnswlib.h", debian: "libhnswlib-dev", libs: []string{"-lpthread"}}
	faiss   = native{name: "faiss", header: "faiss/IndexHNSW.h", debian: "libfaiss-dev", compiler: []string{"-fopenmp"}, libs: []string{"-lfaiss", "-llapack", "-lblas"}}
)

func (n native) peer() peer { return peer{name: n.name, locate: n.locate, serve: n.serve} }

// locate asks the compiler for the header and Debian's records for the version.
func (n native) locate(ctx context.Context) (string, error) {
	compiler, err := exec.LookPath("g++")
	if err != nil {
		return "", errors.New("no C++ compiler: apt-get install g++")
	}
	c := exec.CommandContext(ctx, compiler, "-x", "c++", "-fsyntax-only", "-include", n.header, "/dev/null")
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("not installed: apt-get install %s", n.debian)
	}
	version, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", n.debian).Output()
	if err != nil { // installed in another way
		return "unknown", nil
	}
	return string(version), nil
}

func (n native) serve(ctx context.Context, p vectors.Parameters, in io.Reader, out io.Writer) error {
	version, err := n.locate(ctx)
	if err != nil {
		return err
	}
	folder, err := unpack()
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	program := filepath.Join(folder, n.name)
	args := []string{"-std=c++17", "-O3", "-march=native", "-DNDEBUG", "-DPEER_VERSION=\"" + version + "\"", "-o", program, program + ".cpp"}
	args = append(append(args, n.compiler...), n.libs...)
	if said, err := exec.CommandContext(ctx, "g++", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("g++: %w: %s", err, bytes.TrimSpace(said[:min(len(said), 2000)]))
	}
	return converse(exec.CommandContext(ctx, program, positional(p)...), in, out)
}

// unpack writes the peers' sources into a temporary folder.
func unpack() (string, error) {
	folder, err := os.MkdirTemp("", "tamv-vectors-")
	if err != nil {
		return "", err
	}
	programs, err := fs.Sub(sources, "programs")
	if err == nil {
		err = os.CopyFS(folder, programs)
	}
	return folder, err
}

// positional is the parameters as peers in other languages take them.
func positional(p vectors.Parameters) []string {
	return []string{p.Base, p.Query, p.Truth, p.Metric, strconv.Itoa(p.M), strconv.Itoa(p.EfConstruction), strconv.Itoa(p.Threads)}
}

// converse lets a program speak the protocol on our input and output.
func converse(c *exec.Cmd, in io.Reader, out io.Writer) error {
	var said bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = in, out, &said
	if err := c.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

var usearch = peer{name: "usearch", locate: locateUsearch, serve: serveUsearch}

// nodePath is where npm puts global packages, which Node.js does not search by
// itself, behind what the environment says.
func nodePath(ctx context.Context) string {
	root, err := exec.CommandContext(ctx, "npm", "root", "-g").Output()
	if err != nil {
		return os.Getenv("NODE_PATH")
	}
	return os.Getenv("NODE_PATH") + string(os.PathListSeparator) + strings.TrimSpace(string(root))
}

// usearchVersion is JavaScript that loads the package and says its version, which
// stands in the first package.json above its code that has one.
const usearchVersion = `require("usearch");
let folder = require.resolve("usearch"), version;
while (!version) {
  folder = path.dirname(folder);
  try { version = JSON.parse(fs.readFileSync(path.join(folder, "package.json"))).version } catch {}
}
version`

func locateUsearch(ctx context.Context) (string, error) {
	c := exec.CommandContext(ctx, "node", "-p", usearchVersion)
	c.Env = append(os.Environ(), "NODE_PATH="+nodePath(ctx))
	version, err := c.Output()
	if err != nil {
		return "", errors.New("not installed: npm install -g usearch")
	}
	return strings.TrimSpace(string(version)), nil
}

func serveUsearch(ctx context.Context, p vectors.Parameters, in io.Reader, out io.Writer) error {
	version, err := locateUsearch(ctx)
	if err != nil {
		return err
	}
	folder, err := unpack()
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	c := exec.CommandContext(ctx, "node", append([]string{"--max-old-space-size=16384", filepath.Join(folder, "usearch.cjs")}, append(positional(p), version)...)...)
	c.Env = append(os.Environ(), "NODE_PATH="+nodePath(ctx))
	return converse(c, in, out)
}
