package tap

import "testing"

func TestLocaleLang(t *testing.T) {
	for _, test := range []struct {
		environment map[string]string
		want        Lang
	}{
		{nil, English},
		{map[string]string{"LANG": "es_MX.UTF-8"}, Spanish},
		{map[string]string{"LANG": "es_MX.UTF-8", "LC_MESSAGES": "C"}, English},
		{map[string]string{"LANG": "C", "LC_MESSAGES": "es_ES"}, Spanish},
		{map[string]string{"LC_MESSAGES": "es_ES", "LC_ALL": "en_US.UTF-8"}, English},
		{map[string]string{"LC_ALL": "es", "LANG": "en"}, Spanish},
	} {
		if got := LocaleLang(func(name string) string { return test.environment[name] }); got != test.want {
			t.Errorf("%v: %s", test.environment, got)
		}
	}
}
