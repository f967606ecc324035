package chat

import (
	"strings"

	"tamv.internal/tamv/model/lexical"
	"tamv.internal/tamv/pods"
	"tamv.internal/tamv/tap"
)

// functionWords maps the words that carry grammar to the languages that have
// them: "en", "es" or "en es". They tell the language and nothing of the matter.
var functionWords = makeFunctionWords(
	`a an the and or but of to in on at by for from with without is are was were be been being do does did has have had can could
	will would should may might must i you he she it we they me my your his her its our their this that these those what which
	who whom whose when where why how if not no so as than then there here about into over any some all tell explain please`,
	`el la los las un una unos unas y o u e pero de del al a en por para con sin es son era eran ser fue sido estar esta estan
	hay ha han he haber puede pueden puedo podria debe deben yo tu usted ustedes ella ellos ellas nosotros me mi mis te se su
	sus nos lo le les esto este estos estas ese esa eso que cual cuales quien quienes cuando donde como cuanto cuanta si no mas
	muy ya sobre entre cada todo toda todos todas algun alguna dime explica explicame porque hago hace hacer`,
)

func makeFunctionWords(english, spanish string) map[string]string {
	words := map[string]string{}
	for w := range strings.FieldsSeq(english) {
		words[w] = "en"
	}
	for w := range strings.FieldsSeq(spanish) {
		words[w] = strings.TrimSpace(words[w] + " es")
	}
	return words
}

// plainly says which language a text is written in by counting the function
// words that only one of them has; empty when they do not tell.
func plainly(text string) tap.Lang {
	if strings.ContainsAny(text, "¿¡ñÑ") {
		return tap.Spanish
	}
	var words lexical.Words
	words.Cut(text)
	english, spanish := 0, 0
	for i := range words.Len() {
		switch functionWords[string(words.At(i))] {
		case "en":
			english++
		case "es":
			spanish++
		}
	}
	switch {
	case spanish > english:
		return tap.Spanish
	case english > spanish:
		return tap.English
	}
	return ""
}

// answerLanguage is the language to answer in. English is what a call without
// any preference has, so a question in Spanish is stronger evidence.
func answerLanguage(call tap.Lang, question string) tap.Lang {
	if call == tap.Spanish || plainly(question) == tap.Spanish {
		return tap.Spanish
	}
	return tap.English
}

// inLanguage keeps the passages of a language; all of them when there are none.
func inLanguage(passages []pods.Passage, lang tap.Lang) []pods.Passage {
	var own []pods.Passage
	for _, p := range passages {
		if languageOf(p) == lang {
			own = append(own, p)
		}
	}
	if len(own) == 0 {
		return passages
	}
	return own
}

// languageOf is a passage's language by its metadata, else by its words.
func languageOf(p pods.Passage) tap.Lang {
	for _, key := range []string{"lang", "language"} {
		if tag := p.Metadata[key]; tag != "" {
			return tap.ParseLang(tag)
		}
	}
	return plainly(p.Content)
}
