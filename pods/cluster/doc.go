// Package cluster is what operators do with the members of a site: see them,
// invite, remove and promote them, and hand over leadership. It also takes in
// the machines that were invited.
//
// # Desired state
//
// The pod writes records and touches no replication: which nodes shall be
// members, and whether they shall vote. The leader makes replication follow. The
// [Directory] is the records in memory, fed by the store inside Apply; the
// leader waits for [Directory.Changed], and links between nodes ask it, as a
// [Roster], whom to trust. A node that was removed stays removed: neither its
// name nor its key is ever a member again.
//
// The records, JSON, are in the space [Space] of the site's own tenant; the
// operators of other tenants are refused. Times are microseconds since the Unix
// epoch.
//
//	cluster, member, NODE      [Member]
//	cluster, removed, NODE     [Removal]
//	cluster, invitation, ID    [Invitation], expires
//
// # Invitations
//
// An invitation is good for one machine and until it expires, at most a day. Its
// secret is derived from the site's key and the id of the request that made it,
// so that a repeated request gets the same token on any node, and is stored as a
// SHA-256 only. A machine that joins sends the secret with a certificate request
// (PKCS#10), which proves that it holds its key. In one batch the invitation
// becomes used and the member's record is created. The answer holds the site's
// keys. If it is lost, the same machine, with the same name, key and address, may
// ask again until the invitation expires; to anybody else it is used.
//
// # What the ledger knows
//
// cluster.invite, cluster.withdraw, cluster.join, cluster.remove,
// cluster.promote, cluster.transfer, cluster.member (a node's own record),
// cluster.recover and cluster.link. A machine that presents a real invitation
// and is refused leaves its entry at once, sixteen times and then once an hour.
// Everything else that is refused costs a stranger nothing, so it is counted by
// [Refusals] and written as sums: after five seconds at first, then after twice
// as long each time, up to an hour, until an hour has passed without any. A name
// is told only if the site's authority signed it, and tells kinds apart only if
// the site gave it itself; a port never does. A removed node that nobody stops
// costs about 34 entries a day at each member that it tries, a stranger, with
// 64 addresses and more, at most 65 at a time.
//
// # Errors
//
// A join is Forbidden with code invitation_unknown, invitation_expired,
// invitation_used or invitation_node, and a Conflict with code member_exists,
// member_removed, address_taken, key_known, version or too_many. Removing is a
// Conflict with code last_voter, quorum or too_late (it was removed already),
// and promoting with code not_observer. Any operation for the members by
// somebody from another tenant is Forbidden with code tenant.
package cluster
