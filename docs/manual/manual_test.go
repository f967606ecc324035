package manual

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func load(t *testing.T, lang string) []Passage {
	t.Helper()
	all, err := Passages(lang)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEveryTopicHasEnough(t *testing.T) {
	for _, lang := range Languages() {
		count := map[string]int{}
		for _, p := range load(t, lang) {
			count[p.Topic]++
			if p.Lang != lang {
				t.Errorf("%s: language %q in %q", p.ID, p.Lang, lang)
			}
		}
		for _, topic := range Topics() {
			if count[topic] < 30 {
				t.Errorf("%s/%s has %d passages, fewer than 30", lang, topic, count[topic])
			}
		}
		entries, err := fs.ReadDir(files, lang)
		if err != nil || len(entries) != len(Topics()) {
			t.Errorf("%s has %d files for %d topics (%v)", lang, len(entries), len(Topics()), err)
		}
	}
}

func TestLanguagesSayTheSame(t *testing.T) {
	en, es := load(t, "en"), load(t, "es")
	if len(en) != len(es) {
		t.Fatalf("%d English and %d Spanish passages", len(en), len(es))
	}
	for i := range en {
		if en[i].ID != es[i].ID || en[i].Topic != es[i].Topic {
			t.Errorf("%s/%s stands where %s/%s does in Spanish", en[i].Topic, en[i].ID, es[i].Topic, es[i].ID)
		}
		if en[i].Content == es[i].Content || en[i].Title == es[i].Title {
			t.Errorf("%s is not translated", en[i].ID)
		}
		for _, span := range codes(en[i].Content) {
			if verb := verbOf(span); verb != "" && !strings.Contains(es[i].Content, verb) {
				t.Errorf("%s: the Spanish text does not name %q", en[i].ID, verb)
			}
		}
	}
}

func TestPassagesAreReadable(t *testing.T) {
	for _, lang := range Languages() {
		for _, p := range load(t, lang) {
			if n := len(strings.Fields(p.Content)); n < 20 || n > 120 {
				t.Errorf("%s/%s has %d words", lang, p.ID, n)
			}
			for _, s := range []string{p.Title, p.Content} {
				if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || strings.Contains(s, "  ") {
					t.Errorf("%s/%s is not one clean line", lang, p.ID)
				}
			}
			if strings.Count(p.Content, "`")%2 != 0 {
				t.Errorf("%s/%s has an open code span", lang, p.ID)
			}
			if last := p.Content[len(p.Content)-1]; last != '.' && !strings.HasSuffix(p.Content, ".»") && last != '"' {
				t.Errorf("%s/%s does not end like a sentence", lang, p.ID)
			}
		}
	}
}

// Two passages may share a command line or a phrase, not their substance.
const (
	shingle   = 8
	mayShare  = 6 // shingles
	shortPart = 4 // a quarter of the shorter one
)

func TestNothingIsSaidTwice(t *testing.T) {
	for _, lang := range Languages() {
		all := load(t, lang)
		titles, contents := map[string]string{}, map[string]string{}
		shingles := make([]map[string]bool, len(all))
		for i, p := range all {
			if other, ok := titles[p.Title]; ok {
				t.Errorf("%s: %s and %s have one title", lang, other, p.ID)
			}
			if other, ok := contents[p.Content]; ok {
				t.Errorf("%s: %s and %s are equal", lang, other, p.ID)
			}
			titles[p.Title], contents[p.Content] = p.ID, p.ID
			shingles[i] = shinglesOf(p.Content)
			for j := range i {
				common := 0
				for s := range shingles[i] {
					if shingles[j][s] {
						common++
					}
				}
				if common > mayShare || common*shortPart > min(len(shingles[i]), len(shingles[j])) {
					t.Errorf("%s: %s and %s share %d runs of %d words", lang, all[j].ID, p.ID, common, shingle)
				}
			}
		}
	}
}

func shinglesOf(text string) map[string]bool {
	words := wordsOf(text)
	set := map[string]bool{}
	for i := 0; i+shingle <= len(words); i++ {
		set[strings.Join(words[i:i+shingle], " ")] = true
	}
	return set
}

func wordsOf(text string) []string {
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// Words that carry the grammar of one language and mean nothing in the other.
var grammar = map[string]string{
	"en": "the of and to is that it with for as are from by which what how not if they an has be or at its then when",
	"es": "el la los las de del que y en con por para un una se su es al lo como más si cuando qué cómo sus pero está",
}

func TestEachLanguageIsItself(t *testing.T) {
	share := func(words []string, lang string) float64 {
		n := 0
		for _, w := range words {
			if strings.Contains(" "+grammar[lang]+" ", " "+w+" ") {
				n++
			}
		}
		return float64(n) / float64(len(words))
	}
	for _, lang := range Languages() {
		other := "es"
		if lang == "es" {
			other = "en"
		}
		for _, p := range load(t, lang) {
			prose := wordsOf(span.ReplaceAllString(p.Title+" "+p.Content, ""))
			if own, foreign := share(prose, lang), share(prose, other); own < 0.15 || foreign > own/2 {
				t.Errorf("%s/%s reads as if it were not in this language: %.2f of its words are grammar, %.2f of the other's",
					lang, p.ID, own, foreign)
			}
			if lang == "es" && strings.HasSuffix(p.Title, "?") && !strings.Contains(p.Title, "¿") {
				t.Errorf("es/%s: a Spanish question opens with ¿", p.ID)
			}
		}
	}
}

var span = regexp.MustCompile("`[^`]*`")

// codes are the code spans of a text, without the backquotes.
func codes(text string) []string {
	var all []string
	for _, s := range span.FindAllString(text, -1) {
		all = append(all, strings.Trim(s, "`"))
	}
	return all
}

// commands are the verbs of each program and, where a verb is a group, the verbs
// in it.
var commands = map[string]map[string]string{
	"tamvctl": {
		"identity": "create list show revoke me",
		"intent":   "send show",
		"memory":   "add import export search list show remove",
		"tcep":     "book show balances currencies",
		"evidence": "append list show proof export verify checkpoint key audit mirror tail policy anchors witness rotate-key segments archive",
		"guardian": "list show approve deny",
		"room":     "create list show history act",
		"context":  "show",
		"cluster":  "status invite invitations withdraw remove promote transfer",
		"witness":  "init trust cosign show",
		"subject":  "erase approve withdraw list show policy",
		"security": "alerts acknowledge blocks lift policy",
		"status":   "", "ready": "", "api": "", "demo": "", "completion": "", "version": "",
	},
	"tamvd":     {"init": "", "join": "", "run": "", "recover": "", "dev": "", "version": ""},
	"tamvbench": {"intent": "", "evidence": "", "quality": "", "cluster": "", "failover": "", "ledger": "", "vector": "", "search": ""},
}

var commandLine = regexp.MustCompile(`^(tamv[a-z]+)(?: --[a-z]+ \S+)* ([a-z]+)(?: ([a-z][a-z-]*))?`)

// verbOf is the program with its verbs when a code span is one of our commands.
func verbOf(code string) string {
	m := commandLine.FindStringSubmatch(code)
	if m == nil {
		return ""
	}
	if commands[m[1]][m[2]] == "" {
		return m[2]
	}
	return m[2] + " " + m[3]
}

func TestCommandsExist(t *testing.T) {
	for _, lang := range Languages() {
		found := 0
		for _, p := range load(t, lang) {
			for _, code := range codes(p.Content) {
				if !strings.HasPrefix(code, "tamv") {
					continue
				}
				found++
				m := commandLine.FindStringSubmatch(code)
				if m == nil {
					t.Errorf("%s/%s: %q is no command", lang, p.ID, code)
					continue
				}
				verbs, ok := commands[m[1]][m[2]]
				if !ok || verbs != "" && (m[3] == "" || !strings.Contains(" "+verbs+" ", " "+m[3]+" ")) {
					t.Errorf("%s/%s: there is no command %q", lang, p.ID, m[0])
				}
			}
		}
		if found < 80 {
			t.Errorf("%s: only %d commands found; are they still in code spans?", lang, found)
		}
	}
}
