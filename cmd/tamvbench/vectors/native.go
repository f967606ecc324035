package vectors

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// native is a peer that is a program of ours around somebody else's library, in
// the library's own language, so that nothing of Go slows it down.
type native struct {
	name string
	// locate says which version of the library is installed, or what to install.
	locate func(ctx context.Context) (version string, err error)
	// command is the program, ready to start, which may use a folder with all of them.
	command func(ctx context.Context, folder, version string, p Parameters) (*exec.Cmd, error)
}

//go:embed programs
var programs embed.FS

// natives are all of them, in the order in which they are measured.
var natives = []native{
	cplusplus{name: "hnswlib", header: "hnswlib/hnswlib.h", debian: "libhnswlib-dev", libs: []string{"-lpthread"}}.native(),
	cplusplus{
		name: "faiss", header: "faiss/IndexHNSW.h", debian: "libfaiss-dev",
		compiler: []string{"-fopenmp"}, libs: []string{"-lfaiss", "-llapack", "-lblas"},
	}.native(),
	{name: "usearch", locate: locateUsearch, command: usearchCommand},
}

func findNative(name string) (native, bool) {
	i := slices.IndexFunc(natives, func(n native) bool { return n.name == name })
	if i < 0 {
		return native{}, false
	}
	return natives[i], true
}

// unpacked makes the command in a new folder with all programs, which is the
// caller's to remove.
func (n native) unpacked(ctx context.Context, p Parameters) (c *exec.Cmd, folder string, err error) {
	version, err := n.locate(ctx)
	if err != nil {
		return nil, "", err
	}
	if folder, err = os.MkdirTemp("", "tamv-vectors-"); err != nil {
		return nil, "", err
	}
	sources, err := fs.Sub(programs, "programs")
	if err == nil {
		err = os.CopyFS(folder, sources)
	}
	if err == nil {
		c, err = n.command(ctx, folder, version, p)
	}
	return c, folder, err
}

// cplusplus is a library that is compiled here, for this processor.
type cplusplus struct {
	name     string
	header   string   // without it the library is not installed
	debian   string   // package that has it
	compiler []string // further flags
	libs     []string
}

func (l cplusplus) native() native {
	return native{name: l.name, locate: l.locate, command: l.compile}
}

// locate asks the compiler for the header and Debian's records for the version.
func (l cplusplus) locate(ctx context.Context) (string, error) {
	compiler, err := exec.LookPath("g++")
	if err != nil {
		return "", errors.New("no C++ compiler: apt-get install g++")
	}
	c := exec.CommandContext(ctx, compiler, "-x", "c++", "-fsyntax-only", "-include", l.header, "/dev/null")
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("not installed: apt-get install %s", l.debian)
	}
	version, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", l.debian).Output()
	if err != nil { // installed in another way
		return "unknown", nil
	}
	return string(version), nil
}

func (l cplusplus) compile(ctx context.Context, folder, version string, p Parameters) (*exec.Cmd, error) {
	program := filepath.Join(folder, l.name)
	args := []string{"-std=c++17", "-O3", "-march=native", "-DNDEBUG", "-DPEER_VERSION=\"" + version + "\"", "-o", program, program + ".cpp"}
	args = append(append(args, l.compiler...), l.libs...)
	if said, err := exec.CommandContext(ctx, "g++", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("g++: %w: %s", err, bytes.TrimSpace(said[:min(len(said), 2000)]))
	}
	return exec.Command(program, positional(p)...), nil
}

// positional is the parameters as these programs take them.
func positional(p Parameters) []string {
	return []string{p.Base, p.Query, p.Truth, p.Metric, strconv.Itoa(p.M), strconv.Itoa(p.EfConstruction), strconv.Itoa(p.Threads)}
}

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

func usearchCommand(ctx context.Context, folder, version string, p Parameters) (*exec.Cmd, error) {
	args := append([]string{"--max-old-space-size=16384", filepath.Join(folder, "usearch.cjs")}, positional(p)...)
	c := exec.Command("node", append(args, version)...)
	c.Env = append(os.Environ(), "NODE_PATH="+nodePath(ctx))
	return c, nil
}
