// Package spatial keeps the durable side of dreamspaces: rooms, the objects in
// them, and the ordered history of the actions that made them so. Poses and
// other passing state never come here; the hub fans them out.
//
// # Order and conflicts
//
// An action puts an object, replacing it as a whole, or removes it. Every action
// gets the next number of its room's sequence when it is applied, in the same
// step as its effect, so the sequence is the order in which effects happened and
// the last writer of an object wins. Two participants who move one object at the
// same instant cannot disagree about the outcome: replicas apply one log.
//
// # Joining
//
// [RoomState] reads the sequence number before the objects. A joiner who takes
// the state and then every action with a higher number ends with the room's
// state: actions that the state already contains do no harm when they are played
// again, because each replaces or removes a whole object.
//
// # Limits and units
//
// Positions and scales are metres and factors, rotations are whatever the
// participants agree on (radians by custom); each is a finite JSON number within
// ±1e6, stored with the digits that were sent: no arithmetic is ever done on
// them. Metadata is a JSON object of at most 4 KiB. A room holds at most 10,000
// objects; actions that arrive at the same moment in different batches may exceed
// that by their own number.
//
// # Errors
//
// Invalid for an object that breaks a rule, NotFound for a room or an object that
// is not there, Conflict ("room_exists"), Limited ("room_full").
package spatial
