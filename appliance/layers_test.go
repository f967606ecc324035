package appliance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
)

const module = "tamv.internal/tamv"

// layers says what each package may import from this module; docs/DECISIONS.md
// says why some rows are wider than one would expect. A folder with Go files and no row fails, so that
// adding a package means writing down its place. Do not change this table to
// make a build pass.
var layers = map[string]string{
	"tap":             "",
	"vector":          "vector/*",
	"vector/*":        "",
	"consensus/*":     "",
	"consensus":       "consensus/*",
	"cluster":         "tap",
	"store/bookpi":    "",
	"store":           "tap store/bookpi",
	"store/keyring":   "tap store/bookpi",
	"tap/ws":          "tap",
	"tap/quic":        "tap",
	"tap/httpapi":     "tap",
	"tap/hub":         "tap",
	"tap/client":      "tap",
	"pods":            "tap store",
	"pods/podtest":    "tap store store/bookpi pods",
	"pods/anubis":     "tap store pods",
	"pods/isabella":   "tap store pods model model/*",
	"pods/bookpi":     "tap store store/bookpi pods",
	"pods/*":          "tap store pods model model/* vector",
	"pods/all":        "tap store pods pods/* model",
	"model":           "",
	"model/*":         "model model/*",
	"model/train/*":   "model model/*",
	"appliance/*":     "tap store",
	"appliance":       "*",
	"faults":          "tap tap/client store/bookpi appliance/disk",
	"docs/manual":     "",
	".ci/coverage":    "",
	"cmd/cli":         "tap",
	"cmd/tamvd":       "appliance tap tap/client cmd/cli",
	"cmd/tamvctl":     "tap tap/client store/bookpi docs/manual cmd/cli cmd/tamvctl/*",
	"cmd/tamvctl/*":   "tap tap/client store/bookpi docs/manual cmd/tamvctl/durable",
	"cmd/tamvbench":   "tap tap/client store/bookpi model model/* vector vector/* cmd/cli cmd/tamvbench/*",
	"cmd/tamvbench/*": "tap tap/client store/bookpi model model/* vector vector/* cmd/tamvbench/load",
}

func row(folder string) (string, bool) {
	if s, ok := layers[folder]; ok {
		return s, true
	}
	s, ok := layers[path.Dir(folder)+"/*"]
	return s, ok
}

func allowed(row, imported string) bool {
	for word := range strings.FieldsSeq(row) {
		prefix, open := strings.CutSuffix(word, "*")
		if word == imported || open && strings.HasPrefix(imported, prefix) {
			return true
		}
	}
	return false
}

// eachSource calls fn for every Go file of the module, tests included.
func eachSource(t *testing.T, fn func(file string, src []byte)) {
	t.Helper()
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && (e.Name() == ".git" || e.Name() == "testdata" || e.Name() == "bin") {
			return fs.SkipDir
		}
		if _, err := fs.Stat(root, path.Join(file, "go.mod")); e.IsDir() && file != "." && err == nil {
			return fs.SkipDir // a module of its own
		}
		if e.IsDir() || !strings.HasSuffix(file, ".go") {
			return nil
		}
		src, err := fs.ReadFile(root, file)
		if err == nil {
			fn(file, src)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The sources are parsed here and not listed by the go command: its answer
// would be served from the test cache and miss a violation.
func TestLayers(t *testing.T) {
	documented := map[string]bool{}
	eachSource(t, func(file string, src []byte) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		folder := path.Dir(file)
		documented[folder] = documented[folder] || parsed.Doc != nil
		may, ok := row(folder)
		if !ok {
			t.Errorf("%s has no row in layers", folder)
		}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if dep, ours := strings.CutPrefix(name, module+"/"); ours && !allowed(may, dep) {
				t.Errorf("%s: %s may not import %s", file, folder, dep)
			}
		}
	})
	for folder, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", folder)
		}
	}
	for _, vague := range []string{"utils", "common", "helpers", "manager", "internal", "pkg"} {
		for folder := range documented {
			if strings.Contains("/"+folder+"/", "/"+vague+"/") {
				t.Errorf("%s: a package is named after what it does, not %q", folder, vague)
			}
		}
	}
}

// Habits that a reader should be able to rely on, checked like the layers.
func TestHabits(t *testing.T) {
	eachSource(t, func(file string, src []byte) {
		text := string(src)
		parsed, err := parser.ParseFile(token.NewFileSet(), file, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == "init" && f.Recv == nil {
				t.Errorf("%s: no init functions; a reader must see what a binary contains", file)
			}
		}
		test := strings.HasSuffix(file, "_test.go")
		if !test && strings.Contains(text, "strings.Contains("+"err.Error()") {
			t.Errorf("%s: an error is recognised by its Kind, not by its text", file)
		}
		if test && strings.Contains(text, "time."+"Sleep(") {
			t.Errorf("%s: a test waits for an event or uses testing/synctest; it does not sleep", file)
		}
	})
}
