package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"tamv.internal/tamv/tap"
)

// apiCommand signs any request for a person. Its table is indented JSON: it
// knows nothing of the reply.
func (a *app) apiCommand() *cobra.Command {
	var data, requestID string
	c := a.verb("api METHOD PATH[?QUERY] [--data JSON|@FILE]", textAPI, cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
		r, err := a.apiRequest(args[0], args[1], data, requestID)
		if err != nil {
			return err
		}
		reply, err := a.send(ctx, r)
		if err != nil {
			return err
		}
		if !json.Valid(reply.Body) {
			_, err := a.out.Write(reply.Body)
			return err
		}
		return a.encode(a.out, reply.Body)
	})
	c.Flags().StringVar(&data, "data", "", textFlagData.In(a.lang))
	c.Flags().StringVar(&requestID, "request-id", "", textFlagRequestID.In(a.lang))
	return c
}

func (a *app) apiRequest(method, target, data, requestID string) (*tap.Request, error) {
	body, err := a.argument(data)
	if err != nil {
		return nil, err
	}
	id, err := parseRequestID(requestID)
	if err != nil {
		return nil, err
	}
	path, query, _ := strings.Cut(target, "?")
	return &tap.Request{ID: id, Method: strings.ToUpper(method), Path: path, RawQuery: query, Body: body}, nil
}

// parseRequestID is the request id of the command line, or a new one.
func parseRequestID(given string) (uuid.UUID, error) {
	if given == "" {
		return uuid.Must(uuid.NewV7()), nil // fails only when the system has no randomness
	}
	id, err := uuid.Parse(given)
	if err != nil {
		return uuid.Nil, usage("--request-id %q is not a UUID", given)
	}
	return id, nil
}
