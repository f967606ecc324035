package main

import "tamv.internal/tamv/tap"

// Texts of the verbs about persons whose data is recorded, and about those who attack.
var (
	textSubject         = tap.Text{EN: "Erase what was recorded about a person.", ES: "Borra lo registrado sobre una persona."}
	textSubjectErase    = tap.Text{EN: "Destroy the keys of a person's payloads, or ask for it.", ES: "Destruye las claves de los contenidos de una persona, o lo solicita."}
	textSubjectWithdraw = tap.Text{EN: "Withdraw a request that waits: who asked for it, or an operator.", ES: "Retira una petición que espera: quien la hizo, o un operador."}
	textSubjectApprove  = tap.Text{EN: "Approve an erasure, or a change of the policy, that waits.", ES: "Aprueba un borrado, o un cambio de la política, que espera."}
	textSubjectList     = tap.Text{EN: "List requests that wait, and persons that were erased.", ES: "Lista las solicitudes en espera y las personas borradas."}
	textSubjectShow     = tap.Text{EN: "Show whether a person was erased, and when.", ES: "Muestra si una persona fue borrada, y cuándo."}
	textSubjectPolicy   = tap.Text{EN: "Show or change how many identities an erasure needs.", ES: "Muestra o cambia cuántas identidades requiere un borrado."}

	textSecurity            = tap.Text{EN: "Look at alerts about failed attempts, and at blocked addresses.", ES: "Consulta las alertas de intentos fallidos y las direcciones bloqueadas."}
	textSecurityAlerts      = tap.Text{EN: "List alerts, newest first.", ES: "Lista las alertas, primero las más recientes."}
	textSecurityAcknowledge = tap.Text{EN: "Acknowledge an alert.", ES: "Da por vista una alerta."}
	textSecurityBlocks      = tap.Text{EN: "List blocked addresses.", ES: "Lista las direcciones bloqueadas."}
	textSecurityLift        = tap.Text{EN: "Lift the block of an address.", ES: "Levanta el bloqueo de una dirección."}
	textSecurityPolicy      = tap.Text{EN: "Show or set when attempts raise an alert, and how long addresses are blocked.", ES: "Muestra o fija cuándo los intentos dan una alerta, y cuánto se bloquean las direcciones."}

	textFlagApprovals  = tap.Text{EN: "how many identities, 0 to 5", ES: "cuántas identidades, de 0 a 5"}
	textFlagAlertState = tap.Text{EN: "only open or only acknowledged", ES: "solo open o solo acknowledged"}
	textFlagSetPolicy  = tap.Text{EN: "set the policy in this file, JSON as -o json shows it", ES: "fija la política de este archivo, JSON como lo muestra -o json"}

	textAbout        = tap.Text{EN: "about", ES: "sobre"}
	textApprovals    = tap.Text{EN: "approvals", ES: "aprobaciones"}
	textWithdrawnBy  = tap.Text{EN: "withdrawn by", ES: "retirada por"}
	textApprovedBy   = tap.Text{EN: "approved by", ES: "aprobado por"}
	textAttempts     = tap.Text{EN: "attempts", ES: "intentos"}
	textBlockTime    = tap.Text{EN: "blocked for", ES: "bloqueo"}
	textBlockedUntil = tap.Text{EN: "blocked until", ES: "bloqueada hasta"}
	textErased       = tap.Text{EN: "times erased", ES: "veces borrada"}
	textExpires      = tap.Text{EN: "expires", ES: "caduca"}
	textKeepAlerts   = tap.Text{EN: "alerts kept for", ES: "alertas guardadas"}
	textKeysHere     = tap.Text{EN: "keys on this node", ES: "claves en este nodo"}
	textLastTime     = tap.Text{EN: "last", ES: "última"}
	textNetwork      = tap.Text{EN: "network", ES: "red"}
	textPattern      = tap.Text{EN: "pattern", ES: "patrón"}
	textSeconds      = tap.Text{EN: "seconds", ES: "segundos"}
	textSinceTime    = tap.Text{EN: "since", ES: "desde"}
	textSubjectName  = tap.Text{EN: "person", ES: "persona"}
	textTimes        = tap.Text{EN: "times", ES: "veces"}
	textUntil        = tap.Text{EN: "until", ES: "hasta"}

	textOpenAlerts       = tap.Text{EN: "%d alerts are open.", ES: "Hay %d alertas abiertas."}
	textBlockedAddresses = tap.Text{EN: "%d addresses are blocked.", ES: "Hay %d direcciones bloqueadas."}
)
