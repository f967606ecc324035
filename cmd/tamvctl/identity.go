package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
	"tamv.internal/tamv/tap/client"
)

func (a *app) identityCommand() *cobra.Command {
	return a.group("identity", textIdentity,
		a.identityCreate(), a.identityList(), a.identityShow(), a.identityRevoke(), a.identityMe())
}

// identity is an identity as the appliance shows it.
type identity struct {
	Name      string     `json:"name"`
	KeyID     string     `json:"keyId"`
	PublicKey string     `json:"publicKey"`
	Roles     []tap.Role `json:"roles"`
	State     string     `json:"state"`
	Enrolled  string     `json:"enrolled"`
	Revoked   string     `json:"revoked"`
	Reason    string     `json:"reason"`
	Receipt   *receipt   `json:"receipt"`
}

func (i identity) draw(t *table) {
	t.field(textName, i.Name)
	t.field(textKeyID, i.KeyID)
	t.field(textPublicKey, i.PublicKey)
	t.field(textRoles, joinRoles(i.Roles))
	t.field(textState, i.State)
	t.field(textEnrolled, i.Enrolled)
	t.field(textRevoked, i.Revoked)
	t.field(textReason, i.Reason)
	i.Receipt.draw(t)
}

func joinRoles(roles []tap.Role) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return strings.Join(names, ",")
}

func identityPath(name string) string { return "/v1/identities/" + url.PathEscape(name) }

// enrolment is what identity create is told.
type enrolment struct {
	roles                           []string
	keyFile, publicKey, saveContext string
}

func (a *app) identityCreate() *cobra.Command {
	var e enrolment
	c := a.verb("create NAME --roles ROLE,... (--key FILE | --public-key BASE64) [flags]", textIdentityCreate, cobra.ExactArgs(1),
		func(ctx context.Context, args []string) error { return a.enrol(ctx, args[0], e) })
	c.Flags().StringSliceVar(&e.roles, "roles", nil, textFlagRoles.In(a.lang))
	c.Flags().StringVar(&e.keyFile, "key", "", textFlagKeyFile.In(a.lang))
	c.Flags().StringVar(&e.publicKey, "public-key", "", textFlagPublicKey.In(a.lang))
	c.Flags().StringVar(&e.saveContext, "save-context", "", textFlagSaveContext.In(a.lang))
	c.MarkFlagsOneRequired("key", "public-key")
	c.MarkFlagsMutuallyExclusive("key", "public-key")
	c.MarkFlagsMutuallyExclusive("save-context", "public-key")
	complete(c, "roles", strings.Split(joinRoles(tap.Roles()), ",")...)
	return require(c, "roles")
}

// enrol enrols a public key, or that of a key file, which it makes if it is not
// there and takes away again when the appliance refuses it. A file that is there is
// used as it is: the first attempt may have ended without an answer.
func (a *app) enrol(ctx context.Context, name string, e enrolment) error {
	if _, err := a.client(); err != nil { // before a key is made
		return err
	}
	if err := a.placeForContext(e.saveContext); err != nil { // before anybody is enrolled
		return err
	}
	publicKey, fresh := e.publicKey, false
	if e.keyFile != "" {
		key, err := client.ReadKeyFile(a.path(e.keyFile))
		if fresh = tap.IsKind(err, tap.NotFound); fresh {
			key, err = client.GenerateKeyFile(a.path(e.keyFile))
		}
		if err != nil {
			return coded(err, codeFile)
		}
		publicKey = encodePublic(key)
	}
	reply, err := a.request(ctx, ask{
		method: "POST", path: "/v1/identities",
		body: map[string]any{"name": name, "publicKey": publicKey, "roles": e.roles},
	})
	var refused *replyError
	if fresh && errors.As(err, &refused) && !refused.err.Kind.Traits().Retryable && refused.err.Kind != tap.Internal {
		_ = os.Remove(a.path(e.keyFile)) // nobody has heard of it; what is left would do no harm
	}
	if err != nil {
		return err
	}
	var made identity
	if err := reply.Decode(&made); err != nil {
		return err
	}
	if e.saveContext != "" {
		if err := a.saveContext(made.KeyID, e); err != nil {
			return err
		}
	}
	return a.print(reply.Body, func(t *table) {
		made.draw(t)
		t.field(textKeyFile, e.keyFile)
		t.field(textContextFile, e.saveContext)
	})
}

// placeForContext refuses a name for a context file that cannot be written there.
func (a *app) placeForContext(name string) error {
	if name == "" {
		return nil
	}
	if info, err := os.Stat(a.path(name)); err == nil && info.IsDir() {
		return fileError(&fs.PathError{Op: "write", Path: name, Err: syscall.EISDIR})
	}
	probe, err := os.CreateTemp(filepath.Dir(a.path(name)), ".context-*")
	if err != nil {
		return fileError(&fs.PathError{Op: "write", Path: name, Err: errors.Unwrap(err)})
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func encodePublic(key ed25519.PrivateKey) string {
	return base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

// saveContext writes a context file like the present one for the new identity.
// Its paths are absolute, so that it can be moved.
func (a *app) saveContext(keyID string, e enrolment) error {
	c := *a.as
	c.Identity, c.Key = keyID, a.path(e.keyFile)
	for _, file := range []*string{&c.CA, &c.Key} {
		if *file == "" {
			continue
		}
		absolute, err := filepath.Abs(*file)
		if err != nil {
			return fileError(err)
		}
		*file = absolute
	}
	return c.Save(a.path(e.saveContext))
}

func (a *app) identityList() *cobra.Command {
	var p paging
	c := a.verb("list [flags]", textIdentityList, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: "/v1/identities", query: p.query()}, func(t *table, v struct {
			Identities []identity `json:"identities"`
			Next       cursor     `json:"next"`
		},
		) {
			t.head(textName, textKeyID, textRoles, textState, textEnrolled)
			for _, i := range v.Identities {
				t.row(i.Name, i.KeyID, joinRoles(i.Roles), i.State, i.Enrolled)
			}
			t.more(v.Next)
		})
	})
	p.flags(a, c)
	return c
}

func (a *app) identityShow() *cobra.Command {
	return a.verb("show NAME", textIdentityShow, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return a.showIdentity(ctx, "GET", identityPath(args[0]), nil)
	})
}

func (a *app) identityMe() *cobra.Command {
	return a.verb("me", textIdentityMe, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return a.showIdentity(ctx, "GET", "/v1/identities/me", nil)
	})
}

func (a *app) identityRevoke() *cobra.Command {
	var reason string
	c := a.verb("revoke NAME --reason TEXT", textIdentityRevoke, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return a.showIdentity(ctx, "POST", identityPath(args[0])+"/revoke", map[string]string{"reason": reason})
	})
	c.Flags().StringVar(&reason, "reason", "", textFlagReason.In(a.lang))
	return require(c, "reason")
}

func (a *app) showIdentity(ctx context.Context, method, path string, body any) error {
	return show(ctx, a, ask{method: method, path: path, body: body}, func(t *table, i identity) { i.draw(t) })
}
