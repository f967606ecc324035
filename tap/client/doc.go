// Package client speaks to an appliance from Go. It has two halves.
//
// A [Client] sends signed HTTP requests: [Client.Do] for a request in one
// line, [Client.Send] for one with a request id of the caller's, and
// [Client.DoRaw] for one that the caller signed. Whatever is retried keeps its
// request id, so it is applied at most once. A [Context] file says which
// appliance and which identity; [Load] reads it, [New] connects.
//
// An appliance of several nodes has several addresses. The client stays with the
// node that works. When that cannot be reached, falls silent or cannot serve, the
// next one gets the request, under the same id and a new signature; the context
// bounds all attempts together. Nothing is sent to a server without a
// certificate of the appliance, and no load is spread.
//
// A session is one long connection over WebSocket or QUIC for rooms, evidence
// and intents at a high rate; see Dial. A [Reconnector] opens the next one, with
// the next node, when one ends or its node falls silent.
//
// Every error is a *tap.Error, or unwraps to one.
package client
