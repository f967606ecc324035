package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tamv.internal/tamv/tap"
)

// Prepare makes a whole tree of commands speak the language: headings, the help
// and completion commands that cobra adds, and complaints about the command line,
// which become [Usage] errors. Call it when the tree is complete. A command that
// only holds others prints its help, and refuses what is none of them.
func Prepare(root *cobra.Command, lang tap.Lang) {
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SetUsageTemplate(template(root.UsageTemplate(), lang))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagMistake(err, lang) })
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	if root.Version != "" {
		root.InitDefaultVersionFlag()
		root.Flags().Lookup("version").Usage = textVersionFlag.In(lang)
		root.SetVersionTemplate("{{.DisplayName}} {{.Version}}\n")
	}
	long := root.Long
	if long == "" {
		long = root.Short
	}
	root.Long = long + "\n\n" + ExitCodes(lang)
	each(root, func(c *cobra.Command) { prepare(c, lang) })
}

func each(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, child := range c.Commands() {
		each(child, do)
	}
}

func prepare(c *cobra.Command, lang tap.Lang) {
	c.InitDefaultHelpFlag()
	c.Flags().Lookup("help").Usage = textHelpFlag.In(lang)
	switch path := strings.Fields(c.CommandPath()); {
	case len(path) == 2 && path[1] == "help":
		c.Short = textHelpCommand.In(lang)
		return // it looks for its arguments itself
	case len(path) == 2 && path[1] == "completion":
		c.Short, c.Long = textCompletion.In(lang), ""
	case len(path) == 3 && path[1] == "completion":
		c.Short = fmt.Sprintf(textCompletionShell.In(lang), path[2])
		c.Long = c.Short + "\n\n  " + fmt.Sprintf(loading[path[2]], c.CommandPath())
		if f := c.Flags().Lookup("no-descriptions"); f != nil {
			f.Usage = textNoDescriptions.In(lang)
		}
	}
	if c.HasSubCommands() && !c.Runnable() {
		c.Args = cobra.NoArgs
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	wanted := c.Args
	c.Args = func(c *cobra.Command, args []string) error {
		if wanted != nil && wanted(c, args) != nil {
			return valuesMistake(c, args, lang)
		}
		return missingFlags(c, lang)
	}
}

// loading is how a shell takes the script in, for the present session.
var loading = map[string]string{
	"bash": "source <(%s)", "zsh": "source <(%s)", "fish": "%s | source", "powershell": "%s | Out-String | Invoke-Expression",
}

// template is cobra's, with its headings in the person's language.
func template(template string, lang tap.Lang) string {
	for english, text := range headings {
		template = strings.ReplaceAll(template, english, text.In(lang))
	}
	return template
}

// valuesMistake is about values that a command does not take, or lacks.
func valuesMistake(c *cobra.Command, args []string, lang tap.Lang) error {
	if !c.HasSubCommands() {
		return Usage(textValues.In(lang), len(args), strings.TrimSuffix(c.UseLine(), " [flags]"))
	}
	message := fmt.Sprintf(textUnknownCommand.In(lang), args[0], c.CommandPath())
	if c.SuggestionsMinimumDistance <= 0 {
		c.SuggestionsMinimumDistance = 2
	}
	if like := c.SuggestionsFor(args[0]); len(like) > 0 {
		message += "; " + fmt.Sprintf(textMeant.In(lang), strings.Join(like, ", "))
	}
	return Usage("%s", message)
}

// missingFlags names the required flags that are not given.
func missingFlags(c *cobra.Command, lang tap.Lang) error {
	var missing []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if required := f.Annotations[cobra.BashCompOneRequiredFlag]; len(required) == 1 && required[0] == "true" && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
	})
	if len(missing) == 0 {
		return nil
	}
	return Usage(textMissing.In(lang), strings.Join(missing, ", "), strings.TrimSuffix(c.UseLine(), " [flags]"))
}

// flagMistake is what the parser of flags found wrong.
func flagMistake(err error, lang tap.Lang) error {
	var (
		unknown *pflag.NotExistError
		empty   *pflag.ValueRequiredError
		wrong   *pflag.InvalidValueError
	)
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		return Usage(textUnknownFlag.In(lang), "--"+unknown.GetSpecifiedName())
	case errors.As(err, &unknown):
		return Usage(textUnknownLetter.In(lang), "-"+unknown.GetSpecifiedShortnames())
	case errors.As(err, &empty):
		return Usage(textNoValue.In(lang), "--"+empty.GetFlag().Name)
	case errors.As(err, &wrong):
		f := wrong.GetFlag()
		form, ok := forms[f.Value.Type()]
		if !ok {
			return Usage("--%s %q: %v", f.Name, wrong.GetValue(), errors.Unwrap(wrong))
		}
		return Usage(textWrongValue.In(lang), "--"+f.Name, wrong.GetValue(), form.In(lang))
	}
	return Usage("%v", err)
}
