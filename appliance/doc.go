// Package appliance is the composition root: the one place that knows every
// part of tamvd and joins them. [Run] starts the state machine, consensus, the
// gate, the pods and the listeners, serves until its context ends, and stops
// them in the opposite order.
//
// Everything listens on one port: TCP for HTTPS and WebSocket, UDP for TAP
// over QUIC. The folder it is given holds all there is:
//
//	cluster.json   which node of which site this is, and where it is reached
//	context.json   how tamvctl reaches this node
//	operator.key   the first identity's private key (PKCS #8, PEM); first node only
//	log.key        the ledger's signing key (signed-note form)
//	recovery.pem   the site's keys, sealed; made by Init
//	ca/            the site's certificate authority and this node's certificate
//	raft/          the replicated log and its snapshots
//	state.db       records, money and the ledger's open segment
//	ledger/        the ledger's sealed segments
//	keyring/       subjects' keys and the ledger's later keys, wrapped
//	keyring.seal   what they are wrapped with; this node's alone
//	vector/        saved indexes of memory, which can be made again
//
// docs/FORMATS.md has them byte by byte. [Config] says what can be chosen, site.go
// how a folder becomes a node's, run.go in which order the parts start.
package appliance
