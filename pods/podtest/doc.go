// Package podtest is what a pod is tested with.
//
// [State] is the appliance's state in memory: it applies batches as package
// store does, keeps the evidence ledger and serves every [store.View] and
// [store.Ledger] read. It persists nothing and replicates nothing.
//
// [Host] serves pods over a State through the real [pods.Server], with a gate
// that believes whom the test says is speaking but still demands the route's
// role.
//
// [Conform] is the suite that every pod must pass. It drives the pod with the
// examples that the pod's own test gives and holds, for each:
//
//   - the manifest is complete: names, texts in both languages, roles, schemas
//     that refuse what they do not know and bound what they accept, and every
//     route has an example;
//   - a call changes nothing; what it wants changed is in its Result;
//   - operations stay in the caller's tenant and come with evidence;
//   - the same call on the same state gives the same result;
//   - malformed bodies are refused before the pod sees them;
//   - a cancelled call ends.
package podtest
