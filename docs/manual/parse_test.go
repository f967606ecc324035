package manual

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestParse(t *testing.T) {
	got, err := parse("en/x.md", []byte("# Topic\n\n## one: First?\n\nA text\non two lines.\n\n## two-2: Second: with a colon\nClose by.\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []section{
		{id: "one", title: "First?", content: "A text on two lines.", line: 3},
		{id: "two-2", title: "Second: with a colon", content: "Close by.", line: 8},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseRefuses(t *testing.T) {
	const head = "# T\n\n## a: A\n\n"
	for name, c := range map[string]struct {
		text string
		line int
	}{
		"nothing":              {"", 0},
		"no passage":           {"# T\n", 1},
		"no title":             {"## a: A\n\nx\n", 1},
		"empty title":          {"# \n", 1},
		"long title":           {"# " + strings.Repeat("t", maxTitle+1) + "\n", 1},
		"no last line feed":    {head + "x", 5},
		"bad UTF-8":            {head + "\xff\n", 0},
		"carriage return":      {head + "x\r\n", 5},
		"spaces behind":        {head + "x \n", 5},
		"text before":          {"# T\n\nx\n", 3},
		"second title":         {head + "x\n\n# U\n", 7},
		"deeper heading":       {head + "### b\n", 5},
		"no identifier":        {"# T\n\n## Only a title\n\nx\n", 3},
		"capital identifier":   {"# T\n\n## Aa: A\n\nx\n", 3},
		"long identifier":      {"# T\n\n## " + strings.Repeat("a", 49) + ": A\n\nx\n", 3},
		"no passage title":     {"# T\n\n## a:\n\nx\n", 3},
		"long passage title":   {"# T\n\n## a: " + strings.Repeat("t", maxTitle+1) + "\n\nx\n", 3},
		"empty passage":        {head + "## b: B\n\nx\n", 5},
		"empty last passage":   {head, 4},
		"two paragraphs":       {head + "x\n\ny\n", 7},
		"passage too long":     {head + strings.Repeat("word ", maxContent/5) + "more\n", 5},
		"passage too long, by": {head + strings.Repeat("0123456789\n", maxContent/10), 5 + maxContent/11},
	} {
		_, err := parse("en/x.md", []byte(c.text))
		var syntax *SyntaxError
		if !errors.As(err, &syntax) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		if syntax.Line != c.line || syntax.File != "en/x.md" {
			t.Errorf("%s: %v, want line %d", name, err, c.line)
		}
		if !strings.HasPrefix(err.Error(), fmt.Sprintf("manual: en/x.md:%d: ", c.line)) {
			t.Errorf("%s: the error says %q", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"# T\n\n## a: A\n\nx\n", "# T\n\n## a: A\n\nx\ny\n\n## b: B\n\nz\n", "## a: A\n", "# T\n", "\xff", "# T\n\n## a: A\n\nx\n\ny\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		sections, err := parse("x.md", text)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		again := "# T\n"
		for _, s := range sections {
			if !identifier.MatchString(s.id) || !goodTitle(s.title) || s.content == "" || len(s.content) > maxContent {
				t.Fatalf("accepted %+v", s)
			}
			again += "\n## " + s.id + ": " + s.title + "\n\n" + s.content + "\n"
		}
		repeated, err := parse("x.md", []byte(again))
		if err != nil || len(repeated) != len(sections) {
			t.Fatalf("what was read does not read again: %v", err)
		}
		for i := range sections {
			if repeated[i].content != sections[i].content || repeated[i].title != sections[i].title {
				t.Fatalf("%+v became %+v", sections[i], repeated[i])
			}
		}
	})
}

func TestPassagesRefuses(t *testing.T) {
	var language *LanguageError
	if _, err := Passages("fr"); !errors.As(err, &language) || language.Lang != "fr" || !strings.Contains(err.Error(), `"fr"`) {
		t.Errorf("an unknown language: %v", err)
	}
	good := func() fstest.MapFS {
		m := fstest.MapFS{}
		for _, topic := range Topics() {
			m["en/"+topic+".md"] = &fstest.MapFile{Data: []byte("# T\n\n## " + topic + "-a: A\n\nx\n")}
		}
		return m
	}
	if all, err := passages(good(), "en"); err != nil || len(all) != len(Topics()) {
		t.Fatalf("%d passages, %v", len(all), err)
	}
	missing := good()
	delete(missing, "en/money.md")
	if _, err := passages(missing, "en"); err == nil {
		t.Error("a topic without a file was accepted")
	}
	var syntax *SyntaxError
	broken := good()
	broken["en/money.md"].Data = []byte("no title\n")
	if _, err := passages(broken, "en"); !errors.As(err, &syntax) || syntax.File != "en/money.md" {
		t.Errorf("a broken file: %v", err)
	}
	twice := good()
	twice["en/money.md"].Data = twice["en/rooms.md"].Data
	if _, err := passages(twice, "en"); !errors.As(err, &syntax) || syntax.Line != 3 {
		t.Errorf("an identifier in two files: %v", err)
	}
}
