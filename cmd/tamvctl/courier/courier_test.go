package courier

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// sample is a file as couriers carry: what a request to a witness looks like.
func sample(n int) []byte {
	const some = "old 17\nabcXYZ+/=0123456789\xe2\x80\x94"
	data := make([]byte, n)
	for i := range data {
		data[i] = some[(i*7+i/31)%len(some)]
	}
	return data
}

func TestBase45OfTheStandard(t *testing.T) {
	for _, c := range []struct{ plain, text string }{
		{"AB", "BB8"}, {"Hello!!", "%69 VD92EX0"}, {"base-45", "UJCLQE7W581"}, {"ietf!", "QED8WEX0"}, {"", ""},
	} {
		if got := string(appendBase45(nil, []byte(c.plain))); got != c.text {
			t.Errorf("%q gives %q, want %q", c.plain, got, c.text)
		}
		if got, ok := decodeBase45(c.text); !ok || string(got) != c.plain {
			t.Errorf("%q reads as %q, %v", c.text, got, ok)
		}
	}
	for _, bad := range []string{":::", "GGW", "a", "AB\n", "0", "::", "BB8A", "é00"} {
		if got, ok := decodeBase45(bad); ok {
			t.Errorf("%q reads as %q", bad, got)
		}
	}
}

// Feature: tamv-hardened-backend, Property 71: frames give the file back in any order
func TestFramesInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 1, 3000).Draw(t, "data")
		frames, err := Split(data, rapid.IntRange(8, 700).Draw(t, "per frame"))
		if err != nil {
			t.Fatal(err)
		}
		order := rapid.Permutation(append(frames, rapid.SliceOf(rapid.SampledFrom(frames)).Draw(t, "again")...)).Draw(t, "order")
		var c Collector
		for _, frame := range order {
			if strings.Trim(frame, alphabet) != "" {
				t.Fatalf("not alphanumeric: %q", frame)
			}
			if err := c.Add(frame); err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.Data()
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}

func TestCollectorNamesWhatIsWrong(t *testing.T) {
	frames, err := Split(sample(1000), 300)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Split(sample(1001), 300)
	if err != nil {
		t.Fatal(err)
	}
	var c Collector
	var missing *MissingError
	if _, err := c.Data(); !errors.As(err, &missing) || missing.Total != 0 {
		t.Errorf("empty: %v", err)
	}
	for _, i := range []int{3, 0} {
		if err := c.Add(frames[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Add(other[1]); !errors.Is(err, ErrMixed) {
		t.Errorf("of another file: %v", err)
	}
	forged := frames[0][:len(frames[0])-3] + "000"
	if err := c.Add(forged); !errors.Is(err, ErrMixed) {
		t.Errorf("two contents: %v", err)
	}
	if _, err := c.Data(); !errors.As(err, &missing) || missing.Total != 4 || len(missing.Numbers) != 2 || missing.Numbers[0] != 2 {
		t.Errorf("two missing: %v", err)
	}
	// A frame that was misread so that it still parses is found by the CRC.
	for _, frame := range []string{frames[1][:len(frames[1])-3] + "000", frames[2]} {
		if err := c.Add(frame); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Data(); !errors.Is(err, ErrChecksum) {
		t.Errorf("misread: %v", err)
	}
}

func TestBounds(t *testing.T) {
	for _, c := range []struct{ bytes, perFrame int }{{0, 10}, {10, 0}, {10, -1}, {MaxData + 1, 2000}, {MaxFrames + 1, 1}, {10, 1 << 30}} {
		if _, err := Split(make([]byte, c.bytes), c.perFrame); !errors.Is(err, ErrSize) {
			t.Errorf("%d bytes in frames of %d: %v", c.bytes, c.perFrame, err)
		}
	}
	var c Collector
	big := strings.Repeat("000", 1400)
	var err error
	for i := 1; i <= 32 && err == nil; i++ {
		err = c.Add("TAMV1:32:" + itoa(i) + ":00000000:" + big)
	}
	if !errors.Is(err, ErrSize) {
		t.Errorf("frames of more than a file: %v", err)
	}
	if _, err := PNG(strings.Repeat("0", maxText+1)); !errors.Is(err, ErrFrame) {
		t.Error(err)
	}
	if _, err := PNG(strings.Repeat("A", maxText)); !errors.Is(err, ErrFrame) { // level M holds less
		t.Error(err)
	}
	if err := Terminal(new(bytes.Buffer), strings.Repeat("0", maxText+1)); !errors.Is(err, ErrFrame) {
		t.Error(err)
	}
}

func itoa(n int) string {
	return string([]byte{'0' + byte(n/10)}[:min(n/10, 1)]) + string('0'+rune(n%10))
}

func FuzzFrame(f *testing.F) {
	frames, err := Split(sample(500), 200)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range append(frames, "", "TAMV1:1:1:00000000:", "TAMV1:01:1:00000000:00", "TAMV1:1:2:00000000:00", "TAMV1:513:1:00000000:00",
		"TAMV1:1:1:0000000a:00", "TAMV1:1:1:+0000000:00", "TAMV1:1:1:00000000:::", "tamv1:1:1:00000000:00", "TAMV1:-1:1:00000000:00") {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fr, err := parseFrame(text)
		if err != nil {
			if !errors.Is(err, ErrFrame) {
				t.Error(err)
			}
			return
		}
		var c Collector
		if err := c.Add(text); err != nil {
			t.Fatal(err)
		}
		if numbers, total := c.Missing(); total != fr.total || len(numbers) != total-1 {
			t.Errorf("%v of %d", numbers, total)
		}
		if again := string(appendBase45(nil, fr.data)); !strings.HasSuffix(text, ":"+again) {
			t.Errorf("%q has two spellings", text)
		}
	})
}

// photograph turns a picture by an angle, scales it and adds noise and a shade.
func photograph(src image.Image, degrees, scale float64) image.Image {
	b := src.Bounds()
	side := int(float64(b.Dx()) * scale * 1.5)
	out := image.NewGray(image.Rect(0, 0, side, side))
	sin, cos := math.Sincos(degrees * math.Pi / 180)
	random := rand.New(rand.NewPCG(1, 2))
	for y := range side {
		for x := range side {
			dx, dy := float64(x)-float64(side)/2, float64(y)-float64(side)/2
			sx, sy := int((dx*cos+dy*sin)/scale+float64(b.Dx())/2), int((dy*cos-dx*sin)/scale+float64(b.Dy())/2)
			light := 235.0
			if image.Pt(sx, sy).In(b) {
				r, _, _, _ := src.At(sx, sy).RGBA()
				light = 25 + float64(r>>8)*0.85
			}
			light -= 40 * float64(x) / float64(side) // a shadow from one side
			light += random.Float64()*16 - 8
			out.SetGray(x, y, color.Gray{Y: uint8(max(0, min(255, light)))})
		}
	}
	return out
}

func TestPicturesOfFrames(t *testing.T) {
	data := sample(1500)
	frames, err := Split(data, PictureBytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []struct{ degrees, scale float64 }{{0, 1}, {90, 1}, {180, 0.5}, {12, 0.8}, {-33, 1.2}} {
		var c Collector
		for i, frame := range frames {
			raw, err := PNG(frame)
			if err != nil || !IsPicture(raw) {
				t.Fatal(err)
			}
			if how.scale != 1 || how.degrees != 0 {
				img, err := png.Decode(bytes.NewReader(raw))
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				if i%2 == 0 {
					err = jpeg.Encode(&b, photograph(img, how.degrees, how.scale), &jpeg.Options{Quality: 80})
				} else {
					err = png.Encode(&b, photograph(img, how.degrees, how.scale))
				}
				if err != nil {
					t.Fatal(err)
				}
				raw = b.Bytes()
			}
			texts, err := Read(raw)
			if err != nil {
				t.Fatalf("turned by %v, scaled by %v: %v", how.degrees, how.scale, err)
			}
			for _, text := range texts {
				if err := c.Add(text); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got, err := c.Data(); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%v: %d bytes, %v", how, len(got), err)
		}
	}
}

// What a terminal shows is the code: its half blocks, drawn as pixels, are read.
func TestTerminalShowsTheCode(t *testing.T) {
	frames, err := Split(sample(TerminalBytes), TerminalBytes)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Terminal(&b, frames[0]); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	var rows [][]rune
	for _, line := range lines {
		rows = append(rows, []rune(strings.TrimSuffix(strings.TrimPrefix(line, "\x1b[30;107m"), "\x1b[0m")))
	}
	if width := len(rows[0]); width > 80 {
		t.Errorf("%d columns do not fit on a terminal", width)
	}
	const scale = 6
	img := image.NewGray(image.Rect(0, 0, len(rows[0])*scale, len(rows)*2*scale))
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			r, lower := rows[y/scale/2][x/scale], y/scale%2 == 1
			black := r == '█' || r == '▀' && !lower || r == '▄' && lower
			if !black {
				img.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	var p bytes.Buffer
	if err := png.Encode(&p, img); err != nil {
		t.Fatal(err)
	}
	texts, err := Read(p.Bytes())
	if err != nil || len(texts) != 1 || texts[0] != frames[0] {
		t.Fatalf("%q, %v", texts, err)
	}
}

func TestReadRefuses(t *testing.T) {
	var blank bytes.Buffer
	if err := png.Encode(&blank, image.NewGray(image.Rect(0, 0, 60, 60))); err != nil {
		t.Fatal(err)
	}
	huge := append([]byte(nil), blank.Bytes()...)
	copy(huge[16:], []byte{0, 1, 0, 0, 0, 1, 0, 0}) // 65,536 by 65,536 in the header
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"nothing":   {nil, ErrPicture},
		"text":      {[]byte("TAMV1:1:1:00000000:00"), ErrPicture},
		"blank":     {blank.Bytes(), ErrNoCode},
		"truncated": {blank.Bytes()[:40], ErrPicture},
		"huge":      {huge, ErrPicture},
	} {
		if _, err := Read(c.raw); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
