package main

import "tamv.internal/tamv/tap"

// The demonstration.
var (
	textStepMemory   = tap.Text{EN: "Memory", ES: "Memoria"}
	textStepIntent   = tap.Text{EN: "Intent", ES: "Intención"}
	textStepGuardian = tap.Text{EN: "Guardian", ES: "Guardián"}
	textStepMoney    = tap.Text{EN: "Money", ES: "Dinero"}
	textStepRooms    = tap.Text{EN: "Rooms", ES: "Salas"}
	textStepEvidence = tap.Text{EN: "Evidence", ES: "Evidencia"}
	textStepWitness  = tap.Text{EN: "Witness", ES: "Testigo"}
	textStepRefusals = tap.Text{EN: "Refusals", ES: "Rechazos"}
	textStepFailover = tap.Text{EN: "Failover", ES: "Relevo"}

	textOK     = tap.Text{EN: "ok", ES: "bien"}
	textFailed = tap.Text{EN: "FAILED", ES: "FALLÓ"}

	textDemoOperator = tap.Text{EN: "the demonstration enrols identities: the context's identity needs the role operator", ES: "la demostración registra identidades: la identidad del contexto necesita el rol operator"}
	textDemoFailed   = tap.Text{EN: "%d of %d steps failed", ES: "fallaron %d de %d pasos"}
	textDemoDone     = tap.Text{EN: "All of it worked, in %.1f s. The %d identities of this run are revoked.", ES: "Todo funcionó, en %.1f s. Las %d identidades de esta ejecución están revocadas."}
	textDemoNotDone  = tap.Text{EN: "Something failed, after %.1f s. This run enrolled %d identities.", ES: "Algo falló, tras %.1f s. Esta ejecución registró %d identidades."}

	textManualLoaded = tap.Text{EN: "The appliance's manual is in memory: %d passages in English, %d in Spanish, %d topics (%d added now, %d there before).", ES: "El manual del sistema está en la memoria: %d pasajes en inglés, %d en español, %d temas (%d añadidos ahora, %d de antes)."}
	textManualSearch = tap.Text{EN: "\"%s\" finds %s: \"%s\" (similarity %.2f, %.1f ms).", ES: "«%s» encuentra %s: «%s» (similitud %.2f, %.1f ms)."}

	textAnswer      = tap.Text{EN: "\"%s\" -> %s", ES: "«%s» -> %s"}
	textAnswerFrom  = tap.Text{EN: "  from %s; %.1f ms", ES: "  de %s; %.1f ms"}
	textAnswerAudit = tap.Text{EN: "  audit %s %.2f (%d principles learned, %d by rule, %d without basis); ledger entry %d, %s", ES: "  auditoría %s %.2f (%d principios aprendidos, %d por regla, %d sin base); entrada %d del registro, %s"}

	textRefused       = tap.Text{EN: "\"%s\" -> %s (ledger entry %d, %s)", ES: "«%s» -> %s (entrada %d del registro, %s)"}
	textHeld          = tap.Text{EN: "\"%s\" under RESEARCH without a purpose waits for a guardian, ticket %s.", ES: "«%s» con RESEARCH y sin propósito espera a un guardián, expediente %s."}
	textCannotApprove = tap.Text{EN: "A citizen cannot approve it (%s), nor can the guardian who sent it (%s).", ES: "No puede aprobarla un ciudadano (%s), ni el guardián que la envió (%s)."}
	textApproved      = tap.Text{EN: "%s approves it; the sender reads: %s (%d citations, ledger entry %d)", ES: "%s la aprueba; quien la envió lee: %s (%d citas, entrada %d del registro)"}

	textSplit      = tap.Text{EN: "%s %s = %s impact + %s operations, exactly 75/25 (ledger entry %d, %s).", ES: "%s %s = %s impacto + %s operaciones, exactamente 75/25 (entrada %d del registro, %s)."}
	textBookedOnce = tap.Text{EN: "Sent again under the same request id, it is the same booking: %s.", ES: "Enviada otra vez con el mismo identificador, es la misma anotación: %s."}
	textBooks      = tap.Text{EN: "The books in %s: impact %s, operations %s, sources %s; they add up to %s.", ES: "Las cuentas en %s: impacto %s, operaciones %s, orígenes %s; suman %s."}

	textRoomOpened  = tap.Text{EN: "Room %s is open, with a lamp and a chair in it.", ES: "La sala %s está abierta, con una lámpara y una silla."}
	textParticipant = tap.Text{EN: "%-4s  %s joined in %.1f ms, moved an object in %.1f ms (committed), was seen moving in %.1f ms.", ES: "%-4s  %s entró en %.1f ms, movió un objeto en %.1f ms (confirmado), y se le vio moverse en %.1f ms."}
	textSameState   = tap.Text{EN: "Both, and the API, have the same %d objects after %d actions: state %s.", ES: "Ambos, y la API, tienen los mismos %d objetos tras %d acciones: estado %s."}

	textOneVerified   = tap.Text{EN: "The intent's entry, a file of %d bytes, verifies offline in %.1f ms against a ledger of %d with root %s.", ES: "La entrada de la intención, un archivo de %d bytes, se verifica sin conexión en %.1f ms contra un registro de %d con raíz %s."}
	textRangeVerified = tap.Text{EN: "%d entries in a row, a file of %d bytes, verify offline in %.1f ms.", ES: "%d entradas seguidas, un archivo de %d bytes, se verifican sin conexión en %.1f ms."}
	textFlipped       = tap.Text{EN: "  With byte %d changed, verification names entry %d (%s).", ES: "  Con el byte %d cambiado, la verificación nombra la entrada %d (%s)."}

	textCarried       = tap.Text{EN: "A witness without a network got a file of %d bytes, gave one of %d back, and vouches for %d entries.", ES: "Un testigo sin red recibió un archivo de %d bytes, devolvió otro de %d y responde por %d entradas."}
	textPolicyHolds   = tap.Text{EN: "The intent's entry verifies offline in %.1f ms against a policy that asks for %d cosignatures (quorum %s).", ES: "La entrada de la intención se verifica sin conexión en %.1f ms con una política que pide %d cofirmas (quórum %s)."}
	textPolicyRefuses = tap.Text{EN: "  With the site's own signature alone, the policy refuses it.", ES: "  Con la sola firma del sitio, la política la rechaza."}
	textAudited       = tap.Text{EN: "An auditor walked the whole ledger: %d entries, %d payloads and %d checkpoints hold (%.0f ms).", ES: "Un auditor recorrió el registro entero: %d entradas, %d contenidos y %d puntos de control se cumplen (%.0f ms)."}

	textAttempt       = tap.Text{EN: "%-16s refused: %d %s; ledger entry %d, %s", ES: "%-16s rechazada: %d %s; entrada %d del registro, %s"}
	textAttemptsFound = tap.Text{EN: "All %d attempts were in the ledger after %.0f ms.", ES: "Los %d intentos estaban en el registro tras %.0f ms."}

	textFlagNodes = tap.Text{
		EN: "how many nodes the site has; of several, started by \"tamvd dev --nodes\", the leader is killed as well",
		ES: "cuántos nodos tiene el sitio; de varios, arrancados con \"tamvd dev --nodes\", además se mata al líder",
	}
	textNoSite = tap.Text{
		EN: "beside the context file there is no list of nodes (dev.json): --nodes is for a site that \"tamvd dev --nodes N\" runs on this machine",
		ES: "junto al archivo de contexto no hay lista de nodos (dev.json): --nodes es para un sitio que \"tamvd dev --nodes N\" ejecuta en esta máquina",
	}
	// Nodes wanted, voters that answer, processes.
	textSiteSize = tap.Text{
		EN: "--nodes %d, but %d voters answer and %d processes run",
		ES: "--nodes %d, pero responden %d votantes y hay %d procesos",
	}
	textFailoverKilled = tap.Text{
		EN: "The leader %s was killed (kill -9) after %d intents of 8 people had been answered.",
		ES: "Se mató al líder %s (kill -9) después de responder %d intenciones de 8 personas.",
	}
	textFailoverPause = tap.Text{
		EN: "The longest time without an answer was %.0f ms; %d intents were answered, %d were not.",
		ES: "El tiempo más largo sin respuesta fue de %.0f ms; se respondieron %d intenciones, %d no.",
	}
	textFailoverHeads = tap.Text{
		EN: "%d of %d answered intents are in the ledger. It is back on %d nodes with the same %d entries, root %s.",
		ES: "%d de %d intenciones respondidas están en el registro. Vuelve a estar en %d nodos con las mismas %d entradas, raíz %s.",
	}
)
