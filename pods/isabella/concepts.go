package isabella

import "strings"

// concept is a bit: one of the word families of the lexicon.
type concept uint64

// window is how many words apart the concepts of a pattern may stand.
const window = 10

// dictionary finds the concepts of a word.
type dictionary struct {
	names    map[string]concept
	exact    map[string]concept
	prefixes map[string]concept
	lengths  []int // of the prefixes, each once
}

// newDictionary compiles a lexicon: concept name to its folded words, separated
// by spaces; a word that ends in '*' stands for all that begin with it.
func newDictionary(lexicon map[string]string) *dictionary {
	d := &dictionary{names: map[string]concept{}, exact: map[string]concept{}, prefixes: map[string]concept{}}
	known := map[int]bool{}
	for name, list := range lexicon {
		bit := concept(1) << len(d.names)
		d.names[name] = bit
		for word := range strings.FieldsSeq(list) {
			stem, open := strings.CutSuffix(word, "*")
			if !open {
				d.exact[word] |= bit
				continue
			}
			d.prefixes[stem] |= bit
			if !known[len(stem)] {
				known[len(stem)] = true
				d.lengths = append(d.lengths, len(stem))
			}
		}
	}
	return d
}

// of returns every concept that the word belongs to.
func (d *dictionary) of(word string) concept {
	found := d.exact[word]
	for _, n := range d.lengths {
		if n <= len(word) {
			found |= d.prefixes[word[:n]]
		}
	}
	return found
}

// set is the union of the named concepts. An unknown name is a defect of the
// table, found when the package is loaded.
func (d *dictionary) set(names string) concept {
	var s concept
	for _, bit := range d.list(names) {
		s |= bit
	}
	return s
}

// list is the named concepts in order.
func (d *dictionary) list(names string) []concept {
	var l []concept
	for name := range strings.FieldsSeq(names) {
		bit, ok := d.names[name]
		if !ok {
			panic("isabella: the lexicon has no concept " + name)
		}
		l = append(l, bit)
	}
	return l
}

// phrase is a text as a sequence of concept sets, one for each word.
type phrase struct {
	marks []concept
	all   concept
}

// read appends the concepts of a text's words, apart from what came before by
// more than a window.
func (p *phrase) read(d *dictionary, list []string) {
	if len(p.marks) > 0 {
		p.marks = append(p.marks, make([]concept, window+1)...)
	}
	for _, w := range list {
		m := d.of(w)
		p.marks = append(p.marks, m)
		p.all |= m
	}
}

// near is the union of the concepts from words to the left of i to words to the
// right of it, without i itself.
func (p *phrase) near(i, left, right int) concept {
	var s concept
	for j := max(i-left, 0); j < min(i+right+1, len(p.marks)); j++ {
		if j != i {
			s |= p.marks[j]
		}
	}
	return s
}

// pattern is concepts that must stand together.
type pattern struct {
	first  concept // where a match begins
	others concept // all of them within a window of the first
	unless concept // none of them in the window before the first
	except concept // none of them anywhere in the window
}

// in says whether the phrase holds the pattern.
func (m pattern) in(p *phrase) bool {
	need := m.first | m.others
	if p.all&need != need {
		return false
	}
	for i, mark := range p.marks {
		if mark&m.first == 0 {
			continue
		}
		around := p.near(i, window, window)
		if around&m.others == m.others && p.near(i, window, 0)&m.unless == 0 && (around|mark)&m.except == 0 {
			return true
		}
	}
	return false
}

// patterns compiles alternatives that share what excuses them.
func (d *dictionary) patterns(any []string, unless, except string) []pattern {
	out := make([]pattern, 0, len(any))
	for _, names := range any {
		need := d.list(names)
		m := pattern{first: need[0], unless: d.set(unless), except: d.set(except)}
		for _, c := range need[1:] {
			m.others |= c
		}
		out = append(out, m)
	}
	return out
}

func anyIn(list []pattern, p *phrase) bool {
	for _, m := range list {
		if m.in(p) {
			return true
		}
	}
	return false
}
