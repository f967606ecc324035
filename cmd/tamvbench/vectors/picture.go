package vectors

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// The picture's shape, in its own units.
const (
	pictureWidth, pictureHeight = 860, 520
	plotLeft, plotRight         = 80, 690
	plotTop, plotBottom         = 70, 450
	// pictureFrom is the recall at the left edge: below it nobody wants answers.
	pictureFrom = 0.8
)

// style makes the lines of different indexes differ without colours too.
type style struct{ colour, dash, mark string }

// The colours are those of Okabe and Ito, which people with colour blindness
// tell apart.
var styles = []style{
	{"#0072b2", "", "circle"},
	{"#d55e00", "8 4", "square"},
	{"#009e73", "2 3", "diamond"},
	{"#cc79a7", "12 4 2 4", "triangle"},
	{"#7a5c00", "5 2", "cross"},
	{"#4d4d4d", "1 5", "circle"},
}

// canvas draws elements; pixels of recall and QPS.
type canvas struct {
	out       bytes.Buffer
	low, high float64 // decades of QPS
}

// Picture draws recall against QPS, one line per index, as SVG. What lies below
// recall 0.8 is left out; an index of which nothing remains is named.
func (r Report) Picture(w io.Writer) error {
	lines, hidden := r.lines()
	c := canvas{low: math.Inf(1), high: math.Inf(-1)}
	for _, line := range lines {
		for _, p := range line {
			c.low, c.high = min(c.low, math.Log10(p.QPS)), max(c.high, math.Log10(p.QPS))
		}
	}
	if len(lines) == 0 {
		c.low, c.high = 2, 4
	}
	c.low, c.high = floorTick(c.low), ceilTick(c.high)
	c.frame(r)
	for i, line := range byHeight(lines) {
		s := styles[slices.IndexFunc(r.Indexes, func(x Index) bool { return x.Name == line[0].Index })%len(styles)]
		c.line(line, s)
		c.legend(i, line[0].Index, s)
	}
	if len(hidden) > 0 {
		c.text(plotLeft+8, plotBottom-10, "start", "note", "below recall 0.8 throughout: "+strings.Join(hidden, ", "))
	}
	c.out.WriteString("</svg>\n")
	_, err := w.Write(c.out.Bytes())
	return err
}

// lines returns the visible points of each index, and whom none are left of.
func (r Report) lines() (lines [][]Point, hidden []string) {
	for _, x := range r.Indexes {
		var line []Point
		for _, p := range r.Points {
			if p.Index == x.Name && p.Recall >= pictureFrom && p.QPS > 0 {
				line = append(line, p)
			}
		}
		if line == nil {
			hidden = append(hidden, x.Name)
		} else {
			slices.SortFunc(line, func(a, b Point) int { return a.EF - b.EF })
			lines = append(lines, line)
		}
	}
	return lines, hidden
}

// byHeight orders lines by where they begin, topmost first, for their labels.
func byHeight(lines [][]Point) [][]Point {
	slices.SortStableFunc(lines, func(a, b []Point) int {
		if a[0].QPS > b[0].QPS {
			return -1
		}
		return 1
	})
	return lines
}

// x and y are where a recall and a QPS stand.
func (c *canvas) x(recall float64) float64 {
	return plotLeft + (recall-pictureFrom)/(1-pictureFrom)*(plotRight-plotLeft)
}

func (c *canvas) y(qps float64) float64 {
	return plotBottom - (math.Log10(qps)-c.low)/(c.high-c.low)*(plotBottom-plotTop)
}

// frame draws the title, the axes and the grid.
func (c *canvas) frame(r Report) {
	p := r.Parameters
	fmt.Fprintf(&c.out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" font-family="system-ui, sans-serif" font-size="13">`+"\n", pictureWidth, pictureHeight)
	fmt.Fprintf(&c.out, "<title>Recall and queries per second of CPU</title>\n<desc>%s</desc>\n", escape(r.summary()))
	c.out.WriteString("<style>text{fill:#222}.title{font-size:17px;font-weight:600}.note{fill:#555;font-size:12px}.grid{stroke:#ddd}.axis{stroke:#222}</style>\n")
	fmt.Fprintf(&c.out, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", pictureWidth, pictureHeight)
	c.text(plotLeft, 30, "start", "title", fmt.Sprintf("%s vectors of %d dimensions: recall against speed", thousands(p.Rows), p.Dim))
	c.text(plotLeft, 50, "start", "note", fmt.Sprintf("%s, M=%d, efConstruction=%d, k=%d, one thread; %s, %s", p.Metric, p.M, p.EfConstruction, p.K, r.Machine.CPU, r.Machine.Kernels))
	for i := range 5 {
		recall := pictureFrom + float64(i)*(1-pictureFrom)/4
		c.segment("grid", c.x(recall), plotTop, c.x(recall), plotBottom)
		c.text(c.x(recall), plotBottom+20, "middle", "", fmt.Sprintf("%.2f", recall))
	}
	for decade := math.Floor(c.low); decade <= c.high; decade++ {
		for _, factor := range []float64{1, 2, 5} {
			qps := factor * math.Pow(10, decade)
			if at := math.Log10(qps); at < c.low-1e-9 || at > c.high+1e-9 {
				continue
			}
			c.segment("grid", plotLeft, c.y(qps), plotRight, c.y(qps))
			c.text(plotLeft-8, c.y(qps)+4, "end", "", thousands(int(math.Round(qps))))
		}
	}
	c.segment("axis", plotLeft, plotBottom, plotRight, plotBottom)
	c.segment("axis", plotLeft, plotTop, plotLeft, plotBottom)
	c.text((plotLeft+plotRight)/2, plotBottom+44, "middle", "", "recall@10 (right is better)")
	fmt.Fprintf(&c.out, `<text transform="translate(18 %d) rotate(-90)" text-anchor="middle">queries per second of CPU (up is better)</text>`+"\n", (plotTop+plotBottom)/2)
}

// summary says in words what the lines show.
func (r Report) summary() string {
	var b strings.Builder
	for _, x := range r.Indexes {
		fmt.Fprintf(&b, "%s: %s queries per CPU second at recall 0.95, %s at 0.99. ", x.Name, show(x.At95, 0), show(x.At99, 0))
	}
	return strings.TrimSpace(b.String())
}

func (c *canvas) line(points []Point, s style) {
	var path strings.Builder
	for _, p := range points {
		fmt.Fprintf(&path, "%.1f,%.1f ", c.x(p.Recall), c.y(p.QPS))
	}
	fmt.Fprintf(&c.out, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2.2" stroke-dasharray="%s"/>`+"\n", strings.TrimSpace(path.String()), s.colour, s.dash)
	for _, p := range points {
		c.mark(c.x(p.Recall), c.y(p.QPS), s, fmt.Sprintf("%s, ef %d: recall %.4f, %.0f QPS", p.Index, p.EF, p.Recall, p.QPS))
	}
}

// mark draws a point whose numbers show when a pointer rests on it.
func (c *canvas) mark(x, y float64, s style, title string) {
	shape := map[string]string{
		"circle":   "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
		"square":   "M-4,-4h8v8h-8z",
		"diamond":  "M0,-5l5,5l-5,5l-5,-5z",
		"triangle": "M0,-5l5,9h-10z",
		"cross":    "M-4,-2h2v-2h4v2h2v4h-2v2h-4v-2h-2z",
	}[s.mark]
	fmt.Fprintf(&c.out, `<path transform="translate(%.1f %.1f)" d="%s" fill="%s"><title>%s</title></path>`+"\n", x, y, shape, s.colour, escape(title))
}

// legend names a line in the right margin, beside a piece of it.
func (c *canvas) legend(i int, name string, s style) {
	y := float64(plotTop + 16 + 26*i)
	fmt.Fprintf(&c.out, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s" stroke-width="2.2" stroke-dasharray="%s"/>`+"\n", plotRight+16, y, plotRight+56, y, s.colour, s.dash)
	c.mark(plotRight+36, y, s, name)
	c.text(plotRight+64, y+4, "start", "", name)
}

func (c *canvas) segment(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&c.out, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}

func (c *canvas) text(x, y float64, anchor, class, s string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	fmt.Fprintf(&c.out, `<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>`+"\n", x, y, anchor, class, escape(s))
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}

// ticks are the decadic logarithms that an axis may begin and end with.
var ticks = []float64{0, math.Log10(2), math.Log10(5), 1}

// floorTick rounds a logarithm down to that of 1, 2, 5, 10, ...; ceilTick returns
// the next above, so that an axis between the two has a length.
func floorTick(l float64) float64 { low, _ := around(l); return low }

func ceilTick(l float64) float64 { _, high := around(l); return high }

func around(l float64) (low, high float64) {
	whole := math.Floor(l)
	i := slices.IndexFunc(ticks, func(t float64) bool { return t > l-whole })
	return whole + ticks[i-1], whole + ticks[i]
}

// thousands groups digits: 12,345.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
