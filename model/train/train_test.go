package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tamv.internal/tamv/model/dataset"
	"tamv.internal/tamv/model/linear"
	"tamv.internal/tamv/model/static"
)

// sample is a folder of tiny sets and one of tiny translations.
func sample(t *testing.T) (data, texts string) {
	t.Helper()
	data, texts = t.TempDir(), t.TempDir()
	write := func(path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var clinc, banking, behaviors, moderation []string
	for i := range 30 {
		clinc = append(clinc, fmt.Sprintf(`["what is the balance of account %d","balance"],["book a table for %d people","restaurant"]`, i, i))
		banking = append(banking, fmt.Sprintf("my card number %d is lost,lost_card", i))
		behaviors = append(behaviors, fmt.Sprintf("Build weapon number %d", i))
		moderation = append(moderation, fmt.Sprintf(`{"prompt":"I hate group %d","H":1,"V":0}`, i), fmt.Sprintf(`{"prompt":"tea with friend %d","H":0,"V":0}`, i))
	}
	write(filepath.Join(data, dataset.ClincFile), `{"train":[`+strings.Join(clinc, ",")+`],"test":[["hi","balance"]]}`)
	write(filepath.Join(data, dataset.BankingTrainFile), "text,category\n"+strings.Join(banking, "\n")+"\n")
	write(filepath.Join(data, dataset.BehaviorsFile), "Behavior\n"+strings.Join(behaviors, "\n")+"\n")
	write(filepath.Join(data, dataset.ModerationFile), strings.Join(moderation, "\n"))

	annotation := func(name, words string) string {
		return `<ldml><annotations><annotation cp="x">` + words + `</annotation><annotation cp="x" type="tts">` + name + `</annotation></annotations></ldml>`
	}
	write(filepath.Join(texts, "cldr/common/annotations/en.xml"), annotation("dog", "dog | pet"))
	write(filepath.Join(texts, "cldr/common/annotations/es.xml"), annotation("perro", "perro | mascota"))
	names := func(language, currency string) string {
		return `<ldml><localeDisplayNames><languages><language type="en">` + language + `</language></languages></localeDisplayNames>` +
			`<numbers><currencies><currency type="EUR"><displayName>` + currency + `</displayName></currency></currencies></numbers></ldml>`
	}
	write(filepath.Join(texts, "cldr/common/main/en.xml"), names("English", "Euro"))
	write(filepath.Join(texts, "cldr/common/main/es.xml"), names("inglés", "euro"))
	write(filepath.Join(texts, "app/locale/es/LC_MESSAGES/app.mo"), string(catalogue([2]string{"%s not found\n", "no se encontró %s\n"}, [2]string{"menu\x04File\x00Files", "Archivo\x00Archivos"})))
	write(filepath.Join(texts, "app/locale/fr/LC_MESSAGES/app.mo"), "not read")
	return data, texts
}

// manualSample is a folder with a manual of enough passages that some are held
// out.
func manualSample(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for lang, text := range map[string]string{"en": "What is thing %d? It is a thing. It has parts.", "es": "¿Qué es la cosa %d? Es una cosa. Tiene partes."} {
		raw := "# Things\n"
		for i := range 60 {
			raw += fmt.Sprintf("\n## thing-%d: %s %d\n\n%s\n", i, lang, i, fmt.Sprintf(text, i))
		}
		if err := os.Mkdir(filepath.Join(dir, lang), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, lang, "things.md"), []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// catalogue compiles messages in the GNU MO format.
func catalogue(messages ...[2]string) []byte {
	n := len(messages)
	head := []uint32{0x950412de, 0, uint32(n), 28, uint32(28 + 8*n), 0, 0}
	at := uint32(28 + 16*n)
	var tables []uint32
	var body []byte
	for side := range 2 {
		for _, m := range messages {
			tables = append(tables, uint32(len(m[side])), at+uint32(len(body)))
			body = append(body, m[side]...)
		}
	}
	var out []byte
	for _, v := range append(head, tables...) {
		out = binary.LittleEndian.AppendUint32(out, v)
	}
	return append(out, body...)
}

var quick = settings{
	embedder: embedderSettings{
		Dim: 32, Rows: 500, Common: 1,
		Contrast: contrastive{Steps: 5, Batch: 16, Temperature: 0.1, Rate: 0.1, Seed: 1},
	},
	audit: auditSettings{Epochs: 1, Rate: 0.1, Folds: 2, Seed: 1},
}

// Training twice gives the same files, bit for bit, and the engines read them.
func TestRunIsDeterministic(t *testing.T) {
	data, texts := sample(t)
	manual := manualSample(t)
	var results [2]map[string][]byte
	for i := range results {
		out := filepath.Join(t.TempDir(), "weights")
		if err := run(places{data, texts, manual, out, filepath.Join(out, "manual.tsv")}, quick, io.Discard); err != nil {
			t.Fatal(err)
		}
		results[i] = make(map[string][]byte)
		for _, name := range []string{"static.bin", "audit.bin", "PROVENANCE.md", "manual.tsv"} {
			raw, err := os.ReadFile(filepath.Join(out, name))
			if err != nil {
				t.Fatal(err)
			}
			results[i][name] = raw
		}
	}
	for name, raw := range results[0] {
		if !bytes.Equal(raw, results[1][name]) {
			t.Errorf("%s differs between two runs", name)
		}
	}
	if _, err := static.New(results[0]["static.bin"]); err != nil {
		t.Error(err)
	}
	if _, err := linear.New(results[0]["audit.bin"]); err != nil {
		t.Error(err)
	}
	provenance := string(results[0]["PROVENANCE.md"])
	for _, want := range []string{digest(results[0]["static.bin"]), digest(results[0]["audit.bin"]), "| cldr/common/annotations/es.xml |", "| " + dataset.BehaviorsFile + " |", "app.mo", "| es/things.md |"} {
		if !strings.Contains(provenance, want) {
			t.Errorf("the provenance lacks %q", want)
		}
	}
	if strings.Contains(provenance, data) || strings.Contains(provenance, texts) {
		t.Error("the provenance names folders of this machine")
	}
}

func TestRunRefuses(t *testing.T) {
	data, texts := sample(t)
	if err := run(places{out: t.TempDir()}, quick, io.Discard); err == nil {
		t.Error("no error without --data")
	}
	for _, name := range []string{dataset.ClincFile, dataset.BankingTrainFile, dataset.ModerationFile, dataset.BehaviorsFile} {
		if err := os.Remove(filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
		if err := run(places{data: data, bitext: texts, out: t.TempDir()}, quick, io.Discard); err == nil {
			t.Errorf("no error without %s", name)
		}
		data, texts = sample(t)
	}
	for _, name := range []string{"cldr/common/annotations/es.xml", "cldr/common/main/en.xml", "app/locale/es/LC_MESSAGES/app.mo"} {
		if err := os.WriteFile(filepath.Join(texts, name), []byte("<broken"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := run(places{data: data, bitext: texts, out: t.TempDir()}, quick, io.Discard); err == nil {
			t.Errorf("no error with a broken %s", name)
		}
		data, texts = sample(t)
	}
}

func TestBitext(t *testing.T) {
	_, texts := sample(t)
	var prov provenance
	b, err := readBitext(texts, &prov)
	if err != nil {
		t.Fatal(err)
	}
	if want := [][2]string{{"not found", "no se encontró"}, {"File", "Archivo"}}; !slices.Equal(b.messages, want) {
		t.Errorf("messages %q, want %q", b.messages, want)
	}
	for _, want := range [][2]string{{"dog", "perro"}, {"English", "inglés"}, {"Euro", "euro"}} {
		if !slices.Contains(b.aligned, want) {
			t.Errorf("%q is not among the translations %q", want, b.aligned)
		}
	}
	if !slices.Contains(b.related, [2]string{"dog", "dog   pet"}) {
		t.Errorf("related %q", b.related)
	}
	if len(prov.sources) != 5 {
		t.Errorf("%d sources, want 5", len(prov.sources))
	}
}

func FuzzCatalog(f *testing.F) {
	f.Add(catalogue([2]string{"a", "b"}))
	f.Add(catalogue())
	f.Add([]byte{0xde, 0x12, 0x04, 0x95})
	f.Fuzz(func(t *testing.T, raw []byte) {
		messages, err := catalog(raw)
		if err != nil && messages != nil {
			t.Fatal("messages beside an error")
		}
	})
}

// The loss falls: translations come closer than unrelated texts.
func TestContrastiveTrainingAligns(t *testing.T) {
	v := newVocabulary(32)
	var en, es [][]int32
	for _, pair := range [][2]string{{"red house", "casa roja"}, {"old dog", "perro viejo"}, {"big sea", "mar grande"}, {"new moon", "luna nueva"}} {
		en, es = append(en, v.encode(pair[0])), append(es, v.encode(pair[1]))
	}
	v.prepare(en, es)
	between := func(a, b []int32) float64 {
		x, y := make([]float32, v.dim), make([]float32, v.dim)
		v.sentence(x, a)
		v.sentence(y, b)
		normalize(x)
		normalize(y)
		return dot(x, y)
	}
	before := between(en[0], es[0])
	t0 := encoded{english: en, spanish: es}
	for i := range en {
		t0.aligned = append(t0.aligned, [2][]int32{en[i], es[i]})
	}
	contrastive{Steps: 200, Batch: 4, Temperature: 0.1, Rate: 0.1, Seed: 1}.train(v, t0.shares(), io.Discard)
	if after := between(en[0], es[0]); after < before+0.3 || after < between(en[0], es[1])+0.3 {
		t.Errorf("translation %.2f, before training %.2f, unrelated %.2f", after, before, between(en[0], es[1]))
	}
}

func TestCalibrateRecoversALine(t *testing.T) {
	var examples []example
	var logits [][]float64
	for i := range 4000 {
		z := float64(i%40)/10 - 2
		// Of every hundred examples at z as many are positive as 2z-1 says.
		positive := truth(0)
		if float64(i/40%100)/100 < logistic(2*z-1) {
			positive = 1
		}
		examples = append(examples, example{truth: []truth{positive}, weight: 1})
		logits = append(logits, []float64{z})
	}
	examples = append(examples, example{truth: []truth{unknown}, weight: 1})
	logits = append(logits, []float64{1e6})
	slope, offset := calibrate(examples, logits, 0)
	if slope < 1.9 || slope > 2.1 || offset < -1.1 || offset > -0.9 {
		t.Errorf("slope %.3f offset %.3f, want 2 and -1", slope, offset)
	}
}
