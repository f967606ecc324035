// Package clock is a node's time of day: it never goes back, jumps of the
// machine's clock do not move it, and with three or more members the cluster's
// clocks correct it.
//
// # The three times of a node
//
//	wall   what the machine says; an operator, NTP or a dying battery may set it
//	local  the wall at the start plus the monotonic time since, and the jumps of
//	       the wall that were adopted; what members compare with each other
//	now    local plus the cluster's correction; what the appliance lives by
//
// A jump of the wall that stands for [AdoptAfter] is adopted into local: then
// somebody meant it. Shorter ones leave no trace.
//
// # The correction
//
// [Clock.Offsets] hears, each second, how far the members' local times are from
// this node's. From three clocks on (this one included) the target is their
// median, with an even number the middle of the two in the middle. While fewer
// than half of the clocks are wrong, by however much, the median lies between
// two right ones (L. Lamport and P. M. Melliar-Smith, Synchronizing Clocks in
// the Presence of Faults, JACM 32(1), 1985). Marzullo's intersection of
// confidence intervals (K. Marzullo and S. Owicki, PODC 1983; RFC 5905 section
// 11.2.1) would narrow that by the round trip, which on one site is a thousandth
// of what is corrected here. Because local times are compared, and not corrected
// ones, corrections do not feed back into what is measured.
//
// Below three clocks nobody can say which is wrong: the last correction stays,
// and the node follows its own local time.
//
// Now approaches the target in one of three ways:
//
//   - less than [StepLimit] away: it runs faster or slower, by [SlewRate];
//   - further, and now is behind: one step forward, once three reports in a row
//     agreed on the target;
//   - further, and now is ahead: it runs at half speed until it is near, after
//     the same three reports. Going back would break whoever compares two times.
//
// A node that is found to be an hour ahead is therefore right two hours later;
// [Clock.Health] says so all the while. A node that starts takes the median at
// once, in either direction, before it serves: see [Clock.Set].
package clock
