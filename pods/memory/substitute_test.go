package memory

import (
	"os"
	"testing"

	"tamv.internal/tamv/vector"
)

// A start that would have to make most of a large index serves without its graph,
// finds the same, takes changes, and has the graph when that is made.
func TestAStartDoesNotWaitForAGraph(t *testing.T) {
	s := newSite(t, t.TempDir())
	documents := map[string]string{}
	put := func(text string, ids ...string) {
		s.apply(s.put(text, ids...))
		for _, id := range ids {
			documents[id] = text
		}
	}
	put("first", numbered(0, 400)...)
	s.apply(s.mark())
	s.settle()
	s.close()
	if err := os.RemoveAll(s.dir + "/vector"); err != nil {
		t.Fatal(err)
	}
	s.prepare = func(p *Pod) {
		p.atOnce = 300
		p.turn <- struct{}{} // no job gets it
	}
	s.start()
	if v, is := s.of(), s.pod.Status(); !v.substitute || v.index.Stats().Levels != 0 || is.Graphless != 1 || is.Building != 1 {
		t.Errorf("in its place: %+v", is)
	}
	s.shows(documents)
	put("second", numbered(0, 30)...)
	put("second", "new")
	s.apply(remove("d00100"))
	delete(documents, "d00100")
	s.shows(documents)
	s.close() // nothing of it is saved
	s.start()
	s.shows(documents)
	put("third", numbered(40, 50)...)
	<-s.pod.turn
	s.settle()
	if v, is := s.of(), s.pod.Status(); v.substitute || is.Graphless != 0 || is.Building != 0 || is.Made != 0 || is.ToMake != 0 {
		t.Errorf("at the end: %+v", is)
	}
	s.shows(documents)
	if err := s.pod.Health(); err != nil {
		t.Error(err) // what was made at another moment is not compared
	}
	s.close()

	// What was made is loaded; a few changes are linked at once.
	s.start()
	if v := s.of(); v.substitute || v.unsaved != 0 {
		t.Errorf("afterwards: %d unsaved", v.unsaved)
	}
	s.shows(documents)
	<-s.pod.turn
	s.close()
}

// Before the first marker the index without a graph stays until there is one.
func TestAStartBeforeTheFirstMarker(t *testing.T) {
	s := newSite(t, t.TempDir())
	s.apply(s.put("first", numbered(0, 50)...))
	s.close()
	s.tier = vector.Codes
	s.prepare = func(p *Pod) { p.atOnce = 10 }
	s.start()
	if is := s.pod.Status(); is.Graphless != 1 || is.Building != 0 {
		t.Errorf("%+v", is)
	}
	s.apply(s.mark())
	s.settle()
	if is := s.pod.Status(); is.Graphless != 0 || s.of().built.documents != 50 {
		t.Errorf("%+v", is)
	}
	s.close()
}
