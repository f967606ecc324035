// Package pods says what a pod is: a function of (call, read view) to (reply,
// effects). A pod writes nothing; what it wants changed and what the ledger
// shall say about it travel back in its [Result], and the [Runner] commits
// them as one batch. So a pod is tested without a cluster, and no pod can act
// without evidence.
//
// A pod's [Manifest] alone drives its routes, roles, schemas, OpenAPI entry,
// budget, breaker and metrics. Adding a pod means a folder and one line in
// pods/all.
package pods
