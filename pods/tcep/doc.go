// Package tcep books money by the 75/25 rule: of every amount, exactly 75 % goes
// to the impact fund and exactly 25 % to operations.
//
// # Exactness
//
// An amount is a plain decimal string with at most twelve digits before the point
// and no more after it than its currency has, at most eight: DECIMAL(20,8). Three
// quarters of eight decimals need ten, which [store.Amount] holds, so no share is
// ever rounded and impact + operations == amount by construction. [Allocation] is
// verified once more before it is booked. There are no floats.
//
// # Double entry
//
// A booking is three postings that sum to zero, applied in one step with the
// record and its evidence:
//
//	source      -amount
//	impact      +75 %
//	operations  +25 %
//
// The source is an external party: what it gave stands on its account with a
// minus, so its balance is negative. The sum over all accounts of a currency is
// therefore zero at every moment, and GET /v1/economy/balances shows that it is.
//
// # Idempotency
//
// A booking's id is the id of its request. The same request sent again gets the
// first booking; another content under the same id is a Conflict with the code
// "request_id_reused". Within [store.IdempotencyWindow] the repetition gets the
// first receipt; after it, the repetition itself is recorded (outcome "repeated")
// and nothing is booked.
//
// # Errors
//
// Invalid with the code "amount" or "currency" or "text", Conflict, NotFound, and
// Forbidden ("not_own") for somebody else's booking.
package tcep
