package dataset

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tamv.internal/tamv/model"
)

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestReaders(t *testing.T) {
	dir := folder(t, map[string]string{
		ClincFile:                  `{"train":[["hi","greet"]],"test":[["bye","leave"]],"oos_test":[["hm","oos"]],"val":[["hello","greet"]],"oos_train":[["eh","oos"]],"oos_val":[["ah","oos"]]}`,
		BankingTrainFile:           "text,category\n\"where, please?\",card\n",
		BehaviorsFile:              "Behavior,Category\nDo harm,\n",
		ModerationFile:             `{"prompt":"a","S":0,"S3":1,"H":0}` + "\n" + `{"prompt":"b","SH":0}`,
		"stsb-en-dev.csv":          "one,two,2.5\n",
		"xquad-first-half.es.json": `{"data":[{"paragraphs":[{"context":"p0","qas":[]},{"context":"p1","qas":[{"question":"q"}]}]}]}`,
	})
	clinc, err := ReadClinc(dir)
	if err != nil || fmt.Sprint(clinc) != "{[{hi greet}] [{bye leave}] [{hm oos}] [{hello greet} {eh oos} {ah oos}]}" {
		t.Errorf("clinc: %v, %v", clinc, err)
	}
	banking, err := ReadBanking(dir, BankingTrainFile)
	if err != nil || fmt.Sprint(banking) != "[{where, please? card}]" {
		t.Errorf("banking: %v, %v", banking, err)
	}
	behaviors, err := ReadBehaviors(dir)
	if err != nil || fmt.Sprint(behaviors) != "[Do harm]" {
		t.Errorf("behaviors: %v, %v", behaviors, err)
	}
	similar, err := ReadSimilarity(dir, "en")
	if err != nil || fmt.Sprint(similar) != "[{one two 2.5}]" {
		t.Errorf("similarity: %v, %v", similar, err)
	}
	paragraphs, questions, err := ReadXQuAD(dir, "es")
	if err != nil || fmt.Sprint(paragraphs, questions) != "[p0 p1] [{q 1}]" {
		t.Errorf("xquad: %v, %v, %v", paragraphs, questions, err)
	}
	moderation, err := ReadModeration(dir)
	if err != nil || len(moderation) != 2 {
		t.Fatalf("moderation: %v, %v", moderation, err)
	}
	first, second := moderation[0], moderation[1]
	if !first.Flagged() || !first.Labels[model.LabelSexual] || !first.Labels[LabelMinors] || first.Labels[model.LabelHate] {
		t.Errorf("first row: %v", first)
	}
	if _, known := second.Labels[model.LabelHate]; known || second.Flagged() {
		t.Errorf("second row: %v", second)
	}
}

func TestReadersRefuse(t *testing.T) {
	empty := folder(t, nil)
	broken := folder(t, map[string]string{
		ClincFile:                  `{"train":[]}`,
		BankingTestFile:            "text,category\nonly\n",
		BehaviorsFile:              "",
		ModerationFile:             `{"prompt":7}`,
		"stsb-es-dev.csv":          "one,two,many\n",
		"xquad-first-half.en.json": `{"data":`,
	})
	truncated := folder(t, map[string]string{ModerationFile: `{"prompt":`, BehaviorsFile: "a,\"b\n"})
	for _, dir := range []string{empty, broken, truncated} {
		for name, read := range map[string]func() error{
			"clinc":      func() error { _, err := ReadClinc(dir); return err },
			"banking":    func() error { _, err := ReadBanking(dir, BankingTestFile); return err },
			"behaviors":  func() error { _, err := ReadBehaviors(dir); return err },
			"moderation": func() error { _, err := ReadModeration(dir); return err },
			"similarity": func() error { _, err := ReadSimilarity(dir, "es"); return err },
			"xquad":      func() error { _, _, err := ReadXQuAD(dir, "en"); return err },
		} {
			if read() == nil {
				t.Errorf("%s in %s: no error", name, filepath.Base(dir))
			}
		}
	}
}

func TestHeldOutIsATenth(t *testing.T) {
	held := 0
	for i := range 10000 {
		if HeldOut(fmt.Sprint("text ", i)) {
			held++
		}
	}
	if held < 900 || held > 1100 {
		t.Errorf("%d of 10000 held out", held)
	}
}
