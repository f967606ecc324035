// Package pods says what a pod is, and walks every request to one and back.
//
// A pod is a function of (call, read view) to (reply, effects). It writes nothing:
// what it wants changed and what the ledger shall say about it travel back in its
// [Result], and the [Server] commits them as one batch. So a pod is tested without a
// cluster, and no pod can act without evidence.
//
// # Writing one
//
// A pod has a [Manifest], which alone drives its routes, roles, schemas, OpenAPI
// entry, budget, breaker and metrics, and a [Func] for each route. The example of this
// package is a whole one.
//
// It lives in a folder of its own, is listed in package pods/all, and passes
// podtest.Conform. It reads the time from [Call.Now] and the state from [Call.View],
// never from elsewhere: the same call on the same state gives the same result. What
// it read and relies on it repeats in the batch with store.Check, since another
// request may be committed first.
//
// # What holds around it
//
// [Server.Serve] finds the route, asks the [Gate] who speaks, checks the body
// against the route's schema ([Schema.Validate]), brings the view to the
// [Consistency] that was asked for, and runs the pod through its [Guard]: within its
// budget, behind its breaker, and with a panic turned into an error. Only then is
// anything written, in one batch with what the gate wants committed; the reply goes
// out when that batch is durable on a majority.
//
// Errors are [tap.Error] of one of the closed kinds. An error that a pod returns
// commits nothing; a refusal that the ledger must know is [Result.Error] beside its
// evidence. Repeated under the same request id, a call is not done twice, and its
// reply carries the first one's receipt.
package pods
