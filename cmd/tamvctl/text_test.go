package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// same are texts that are spelled alike in both languages.
var same = []string{"actor", "bytes", "ca", "id", "no", "roles"}

var format = regexp.MustCompile(`%[-0-9.]*[a-z%]`)

// Every text has both languages, and both take the same values in the same order.
func TestEveryTextHasBothLanguages(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	texts := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if en, es, ok := languages(t, n); ok {
				texts++
				checkText(t, en, es)
			}
			return true
		})
	}
	if texts < 200 {
		t.Errorf("only %d texts found", texts)
	}
}

// languages reads a composite literal of the form {EN: "...", ES: "..."}.
func languages(t *testing.T, n ast.Node) (en, es string, ok bool) {
	literal, isLiteral := n.(*ast.CompositeLit)
	if !isLiteral {
		return "", "", false
	}
	for _, e := range literal.Elts {
		pair, isPair := e.(*ast.KeyValueExpr)
		if !isPair {
			return "", "", false
		}
		name, isName := pair.Key.(*ast.Ident)
		value, isText := pair.Value.(*ast.BasicLit)
		if !isName || !isText || name.Name != "EN" && name.Name != "ES" {
			return "", "", false
		}
		text, err := strconv.Unquote(value.Value)
		if err != nil {
			t.Fatal(err)
		}
		if ok = true; name.Name == "EN" {
			en = text
		} else {
			es = text
		}
	}
	return en, es, ok
}

func checkText(t *testing.T, en, es string) {
	t.Helper()
	if strings.TrimSpace(en) == "" || strings.TrimSpace(es) == "" {
		t.Errorf("%q and %q: a language is missing", en, es)
	}
	if en == es && !slices.Contains(same, en) {
		t.Errorf("%q is the same in both languages", en)
	}
	if !slices.Equal(format.FindAllString(en, -1), format.FindAllString(es, -1)) {
		t.Errorf("%q and %q take different values", en, es)
	}
}
