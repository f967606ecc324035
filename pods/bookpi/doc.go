// Package bookpi is the evidence pod: it lets clients append evidence, read and
// follow the ledger, and take proofs away that verify offline; and it serves the
// ledger as a transparency log that tools of others read.
//
// # Who sees what
//
// An auditor sees every entry of its own tenant. Everybody else sees the entries
// whose actor is themselves. Nobody sees another tenant's entries by hash or in a
// query. The ledger is one chain for all tenants, so a bundle of a range of
// positions, and a bundle of entries below /log/, carry foreign entries too, as the
// links of the chain, but never their payloads, and only an auditor may ask for
// one. The newest checkpoint, hash tiles, consistency proofs, keys and the suggested
// policy are public: they say nothing about anybody. [Config.OpenLog] opens the
// rest of /log/ as well.
//
// # Appending
//
// The payload of an appended entry is the bytes of the body's "data" exactly as
// they came. Actions that the appliance itself records (their prefixes are
// reserved) cannot be appended by a client.
//
// # Checkpoints and keys
//
// [Notary] signs, on every member. Before a checkpoint is handed out the state
// machine records it ([store.CheckpointBatch]), which it does only for the root that
// every member has at that size: so no size ever has two signed roots, whoever
// leads. While the ledger grows the leader records one every second. The keys' history
// (tamv-log-keys/1, see [bookpi.KeyHistory]) is part of the replicated state, the
// secrets are not. POST /v1/evidence/key asks for new keys; the leader makes them
// within seconds, and a request that it cannot complete lapses after a minute. Both
// steps are entries: log.key_rotation, log.key_rotated.
//
// # Witnesses and anchors
//
// A witness is somebody outside of the site who cosigns checkpoints. Its keys are
// registered by an operator, at most one of type cosignature/v1 and one of type
// ml-dsa-44 under one name, for at most 16 witnesses. A courier fetches
// /v1/evidence/anchors/{witness}/request, a C2SP tlog-witness add-checkpoint body
// from the size that the witness saw last, and posts what the witness answered:
//
//	{"checkpoint": "<the checkpoint of the request>", "cosignatures": "— name base64\n..."}
//
// The checkpoint may be left out while the site keeps it. The second witness is
// asked for the checkpoint that the first one cosigned, so that a quorum comes
// together. A checkpoint that the log's own key signed and that contradicts the ledger is
// recorded as log.split_view. Proofs and bundles go with the newest checkpoint that
// covers them and that enough witnesses cosigned ([Config.Quorum]), else with the
// newest recorded one; cosigned=true or false insists. The 64 newest anchored
// checkpoints are kept.
//
// # The log, /log/
//
// checkpoint, tile/<L>/<N>[.p/<W>] and tile/entries/<N>[.p/<W>] are those of C2SP
// tlog-tiles; entries are encoded as [bookpi.Entry.Append] does. Our own are
// payloads/<N>[.p/<W>] ([bookpi.AppendPayload]), checkpoints (the kept sizes, one a
// line), checkpoints/<size>, key (the present verifier keys, one a line), keys (the key
// history) and policy (C2SP tlog-policy: the present keys, the known witnesses).
// Tiles and bundles are served up to the newest recorded checkpoint, and may be
// cached for good.
//
// # Following and exporting
//
// GET /v1/evidence/stream sends server-sent events: id is the position, event is
// "evidence", data is the entry as a list shows it. It begins with what comes next,
// with ?from=<position>, or after Last-Event-ID or ?after=<position>. Silence is
// broken every 15 s by a comment and the id that was looked at last. GET
// /v1/evidence/export sends the tenant's entries by ascending position as JSON, one a
// line, each with its whole payload and, as "record", its encoded form in base64. A
// node serves 64 of both at once, 4 to one identity. A body that ends early is cut in a way
// that HTTP clients notice.
//
// # Sealed payloads
//
// A payload that concerns a person may be sealed ([bookpi.Seal]). Who may see the
// entry gets what was sealed, while its key exists: "sealed" is "opened", "erased" or
// "closed" (the key is not here). A proof is about the sealed bytes. A bundle with
// open=true also discloses the record's key, and stays readable wherever it goes.
//
// # Bounds
//
// A query reads 50,000 entries and on to where their segment ends, or 256 MiB, and then
// says where to go on ("next"), so a page may be short, or empty, without being the
// last. Segments that were read before, and have nothing of the tenant, the actor or
// the action, are passed by: a node remembers so in up to 16 MiB of memory, about 0.1
// bytes an entry. Pages are cut by position from the newest entry downwards; what is
// appended meanwhile does not shift them. A listed or streamed entry shows its
// payload up to 4 KiB.
//
// # Errors
//
// Invalid (codes "action", "query", "too_large", "witness_key", "checkpoint",
// "checkpoint_needed", "cosignature", "unknown_witness"), Forbidden ("not_own",
// "tenant"), NotFound ("not_anchored", "witness", "checkpoint"), Conflict ("rotating",
// "history_full", "witness_key", "witnesses", "split_view"), Limited ("streams"),
// Unavailable ("log_keys": this node has no keys, or they are being rotated), Internal
// ("split_view") when the state machine refuses what this node would sign.
package bookpi
