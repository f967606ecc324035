package tap

import "time"

// Kind says what sort of failure an error is. The set is closed and
// append-only: the numbers cross the wire.
type Kind uint8

// The kinds, in wire order.
const (
	Internal        Kind = iota // a defect of the appliance
	Invalid                     // the request is malformed or breaks its schema
	Unauthenticated             // no valid signature
	Forbidden                   // a valid signature without the role
	NotFound                    // the thing named does not exist
	Conflict                    // the state is not what the request assumed
	Refused                     // the ethical audit said no
	Held                        // waits for a guardian
	Limited                     // too much, too fast or too large
	Unavailable                 // cannot be served now
	Timeout                     // took longer than its budget
)

// Family is the error category that the API shows as "type".
type Family string

// The four families.
const (
	FamilySecurity   Family = "security"
	FamilyValidation Family = "validation"
	FamilyEthical    Family = "ethical"
	FamilySystem     Family = "system"
)

// Traits is what a Kind means on each transport.
type Traits struct {
	Name      string // stable identifier, also the default error code
	Status    int    // HTTP status
	Family    Family
	TAPCode   uint16 // code in a TAP error frame
	ExitCode  int    // process exit code of tamvctl
	Retryable bool   // the same request may succeed later, unchanged
	Hint      Text   // what the person can do next
}

// kinds is the one table. Index = Kind.
var kinds = [...]Traits{
	Internal: {"internal", 500, FamilySystem, 100, 1, false, Text{
		"This is a defect of the appliance. Note the request id and look at the tamvd log.",
		"Es un defecto del sistema. Anote el identificador de la solicitud y consulte el registro de tamvd.",
	}},
	Invalid: {"invalid", 400, FamilyValidation, 101, 2, false, Text{
		"Correct the request; /openapi.json shows the expected form.",
		"Corrija la solicitud; /openapi.json muestra la forma esperada.",
	}},
	Unauthenticated: {"unauthenticated", 401, FamilySecurity, 102, 3, false, Text{
		"Sign the request with an enrolled key and check this machine's clock.",
		"Firme la solicitud con una clave registrada y compruebe el reloj de esta máquina.",
	}},
	Forbidden: {"forbidden", 403, FamilySecurity, 103, 4, false, Text{
		"Ask an operator for a role that may do this.",
		"Pida a un operador un rol que permita esta acción.",
	}},
	NotFound: {"not_found", 404, FamilyValidation, 104, 5, false, Text{
		"Check the identifier; list what exists first.",
		"Compruebe el identificador; liste primero lo que existe.",
	}},
	Conflict: {"conflict", 409, FamilyValidation, 105, 6, false, Text{
		"Read the current state and decide again.",
		"Lea el estado actual y decida de nuevo.",
	}},
	Refused: {"refused", 403, FamilyEthical, 106, 7, false, Text{
		"The ethical audit refused this intent; its explanation names the principle. Rephrase what you need.",
		"La auditoría ética rechazó esta intención; la explicación nombra el principio. Reformule lo que necesita.",
	}},
	Held: {"held", 202, FamilyEthical, 107, 8, false, Text{
		"A guardian decides. Ask again with the ticket number.",
		"Decide un guardián. Consulte de nuevo con el número de expediente.",
	}},
	Limited: {"limited", 429, FamilySystem, 108, 9, true, Text{
		"Slow down and retry after the time given.",
		"Reduzca el ritmo y reintente pasado el tiempo indicado.",
	}},
	Unavailable: {"unavailable", 503, FamilySystem, 109, 10, true, Text{
		"Retry shortly; /ready names the condition that is not met.",
		"Reintente en breve; /ready nombra la condición que no se cumple.",
	}},
	Timeout: {"timeout", 504, FamilySystem, 110, 11, true, Text{
		"Retry with the same request id, or ask for less at once.",
		"Reintente con el mismo identificador de solicitud, o pida menos a la vez.",
	}},
}

// Kinds lists every kind, in wire order.
func Kinds() []Kind {
	all := make([]Kind, len(kinds))
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// Traits returns the kind's row. An unknown kind (from a newer peer) reads as
// Internal.
func (k Kind) Traits() Traits {
	if int(k) >= len(kinds) {
		k = Internal
	}
	return kinds[k]
}

func (k Kind) String() string { return k.Traits().Name }

// KindNamed is the kind with the given stable name.
func KindNamed(name string) (Kind, bool) {
	for i, t := range kinds {
		if t.Name == name {
			return Kind(i), true
		}
	}
	return Internal, false
}

// DefaultRetryAfter is what a Limited or Unavailable error asks for when its
// maker knew no better.
const DefaultRetryAfter = time.Second
