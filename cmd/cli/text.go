package cli

import "tamv.internal/tamv/tap"

// headings are the headings of the help.
var headings = map[string]tap.Text{
	"Usage:":              {EN: "Usage:", ES: "Uso:"},
	"Examples:":           {EN: "Examples:", ES: "Ejemplos:"},
	"Available Commands:": {EN: "Commands:", ES: "Órdenes:"},
	"Global Flags:":       {EN: "Global flags:", ES: "Opciones globales:"},
	"\nFlags:":            {EN: "\nFlags:", ES: "\nOpciones:"},
	`Use "{{.CommandPath}} [command] --help" for more information about a command.`: {
		EN: `"{{.CommandPath}} [command] --help" says more about a command.`,
		ES: `"{{.CommandPath}} [command] --help" explica cada orden.`,
	},
}

// The help that cobra adds.
var (
	textHelpFlag        = tap.Text{EN: "show this help", ES: "muestra esta ayuda"}
	textVersionFlag     = tap.Text{EN: "print the release", ES: "muestra la versión"}
	textHelpCommand     = tap.Text{EN: "Show the help of a command.", ES: "Muestra la ayuda de una orden."}
	textCompletion      = tap.Text{EN: "Print a script that completes commands in a shell.", ES: "Imprime un guion que completa órdenes en un intérprete."}
	textCompletionShell = tap.Text{EN: "Print the script for %s.", ES: "Imprime el guion para %s."}
	textNoDescriptions  = tap.Text{EN: "without descriptions", ES: "sin descripciones"}
	textExitCodes       = tap.Text{EN: "Exit codes: ", ES: "Códigos de salida: "}
)

// Mistakes in the command line. The values are, in order: how many values were
// given, the usage; the word, the command; the commands that are like it; the
// flags, the usage; the flag; the flag, the value, its form.
var (
	textValues         = tap.Text{EN: "values given: %d; the command is: %s", ES: "valores dados: %d; la orden es: %s"}
	textUnknownCommand = tap.Text{EN: "unknown command %q for %s", ES: "orden desconocida %q de %s"}
	textMeant          = tap.Text{EN: "did you mean %s?", ES: "¿quiso decir %s?"}
	textMissing        = tap.Text{EN: "required flags are not given: %s; the command is: %s", ES: "faltan opciones obligatorias: %s; la orden es: %s"}
	textUnknownFlag    = tap.Text{EN: "unknown flag: %s", ES: "opción desconocida: %s"}
	textUnknownLetter  = tap.Text{EN: "unknown flag: %s; values that begin with a hyphen come last, behind --", ES: "opción desconocida: %s; los valores que empiezan por guion van al final, detrás de --"}
	textNoValue        = tap.Text{EN: "%s needs a value", ES: "%s necesita un valor"}
	textWrongValue     = tap.Text{EN: "%s %q is not %s", ES: "%s %q no es %s"}
)

// forms are the values that a flag takes, by pflag's name of its type.
var forms = map[string]tap.Text{
	"bool":     {EN: "true or false", ES: "true ni false"},
	"int":      {EN: "a whole number", ES: "un número entero"},
	"int64":    {EN: "a whole number", ES: "un número entero"},
	"uint":     {EN: "a whole number from 0 on", ES: "un número entero desde 0"},
	"uint64":   {EN: "a whole number from 0 on", ES: "un número entero desde 0"},
	"float64":  {EN: "a number", ES: "un número"},
	"duration": {EN: "a time such as 30s, 5m or 2h", ES: "un tiempo como 30s, 5m o 2h"},
}

// Below the message of an error.
var (
	textCode = tap.Text{EN: "code", ES: "código"}
	textHint = tap.Text{EN: "hint", ES: "consejo"}

	textHintUsage       = tap.Text{EN: "Add --help to the command to see what it takes.", ES: "Añada --help a la orden para ver qué admite."}
	textHintOutput      = tap.Text{EN: "What was asked for may have been done: make room or choose another place for the output, and look before you repeat it.", ES: "Lo pedido puede haberse hecho: haga sitio o elija otro destino para la salida, y compruébelo antes de repetir."}
	textHintInterrupted = tap.Text{EN: "What was acknowledged stays; look how far it came, then run it again.", ES: "Lo confirmado permanece; mire hasta dónde llegó y repítalo después."}
)
