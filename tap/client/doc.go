// Package client speaks to an appliance from Go. It has two halves.
//
// A [Client] sends signed HTTP requests: [Client.Do] for a request in one
// line, [Client.Send] for one with a request id of the caller's, and
// [Client.DoRaw] for one that the caller signed. Whatever is retried keeps its
// request id, so it is applied at most once. A [Context] file says which
// appliance and which identity; [Load] reads it, [New] connects.
//
// A session is one long connection over WebSocket or QUIC for rooms, evidence
// and intents at a high rate; see Dial.
//
// Every error is a *tap.Error, or unwraps to one.
package client
