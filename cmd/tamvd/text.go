package main

import (
	"tamv.internal/tamv/appliance"
	"tamv.internal/tamv/cmd/cli"
	"tamv.internal/tamv/tap"
)

// Codes of errors that tamvd makes itself.
const (
	codeUnshown = "code_not_shown" // Unavailable: nobody saw the recovery code
	codeSite    = "other_site"     // Conflict: the folder is of a site of another size
)

var (
	shortTexts = tap.Text{
		EN: "The TAMV appliance: a whole backend in one process.",
		ES: "El sistema TAMV: un backend completo en un solo proceso.",
	}
	initTexts = tap.Text{
		EN: "Found a site: make its keys, its certificate authority and its first node.",
		ES: "Funda un sitio: crea sus claves, su autoridad de certificación y su primer nodo.",
	}
	joinTexts = tap.Text{
		EN: "Make this machine a member of a site, by a token of \"tamvctl cluster invite\" (- reads it from standard input), and run it.",
		ES: "Hace de esta máquina un miembro de un sitio, con un token de \"tamvctl cluster invite\" (- lo lee de la entrada estándar), y la ejecuta.",
	}
	runTexts = tap.Text{
		EN: "Run the node in the data folder.",
		ES: "Ejecuta el nodo de la carpeta de datos.",
	}
	recoverTexts = tap.Text{
		EN: "When the majority of a site is lost for good: make this stopped node its only member.",
		ES: "Cuando se ha perdido para siempre la mayoría de un sitio: hace de este nodo detenido su único miembro.",
	}
	devTexts = tap.Text{
		EN: "Run a site that needs nothing; without --data its folder is temporary.",
		ES: "Ejecuta un sitio que no necesita nada; sin --data su carpeta es temporal.",
	}
	versionTexts = tap.Text{EN: "Print the release.", ES: "Muestra la versión."}
	nextTexts    = tap.Text{EN: "Next", ES: "Ahora"}
	stopTexts    = tap.Text{EN: "Ctrl-C stops it.", ES: "Ctrl-C lo detiene."}

	dataTexts       = tap.Text{EN: "data folder", ES: "carpeta de datos"}
	listenTexts     = tap.Text{EN: "HOST:PORT, TCP and UDP; port 0 = any", ES: "HOST:PUERTO, TCP y UDP; puerto 0 = cualquiera"}
	advertiseTexts  = tap.Text{EN: "HOST:PORT at which the other nodes reach this one, when it is not --listen", ES: "HOST:PUERTO con el que los demás nodos llegan a este, si no es --listen"}
	nodeTexts       = tap.Text{EN: "name of this node; the host's name when absent", ES: "nombre de este nodo; el de la máquina si falta"}
	siteTexts       = tap.Text{EN: "name of the site, by which auditors know its ledger; the node's when absent", ES: "nombre del sitio, por el que la auditoría conoce su registro; el del nodo si falta"}
	fromTexts       = tap.Text{EN: "recovery file whose keys the site takes; its code is read from standard input", ES: "archivo de recuperación cuyas claves toma el sitio; su código se lee de la entrada estándar"}
	askCodeTexts    = tap.Text{EN: "Recovery code: ", ES: "Código de recuperación: "}
	nodesTexts      = tap.Text{EN: "how many nodes, each a process of its own: 1 to 5", ES: "cuántos nodos, cada uno un proceso: de 1 a 5"}
	memoryTierTexts = tap.Text{
		EN: "what memory keeps of vectors in main memory: full (default), codes or bits; the same on all members",
		ES: "qué guarda la memoria de los vectores en memoria principal: full (por defecto), codes o bits; lo mismo en todos los miembros",
	}
	openLogTexts = tap.Text{
		EN: "let anybody read the whole evidence log under /log/, entries and payloads too",
		ES: "permitir que cualquiera lea todo el registro de evidencia bajo /log/, también entradas y contenidos",
	}
	verboseTexts   = tap.Text{EN: "log at debug level", ES: "registra también lo que sirve para depurar"}
	newLogKeyTexts = tap.Text{EN: "make a new ledger key when log.key is lost for good", ES: "crea otra clave del registro si log.key se perdió para siempre"}
	majorityTexts  = tap.Text{EN: "confirms that the other nodes will never run again", ES: "confirma que los demás nodos no volverán a funcionar"}

	confirmTexts = tap.Text{
		EN: "if the other nodes still run, the site would split in two, each with a truth of its own; when they are lost for good, repeat with --majority-is-lost",
		ES: "si los demás nodos aún funcionan, el sitio se partiría en dos, cada uno con su verdad; si se perdieron para siempre, repita con --majority-is-lost",
	}
	// Site, node, folder, fingerprint, verifier key, recovery file, recovery code, folder.
	foundedTexts = tap.Text{
		EN: `Site %s, first node %s, in %s
  CA fingerprint   %s
  ledger's key     %s
  recovery file    %s
  recovery code    %s

Copy the recovery file off this machine and keep the code elsewhere: the code is
not stored and not shown again. "tamvd init --from FILE" and the code bring the
keys of the authority and the ledger back.
Next: tamvd run --data %s
`,
		ES: `Sitio %s, primer nodo %s, en %s
  huella de la CA         %s
  clave del registro      %s
  archivo de recuperación %s
  código de recuperación  %s

Copie el archivo de recuperación fuera de esta máquina y guarde el código en otro
lugar: no se almacena ni se vuelve a mostrar. "tamvd init --from ARCHIVO" y el código
devuelven las claves de la autoridad y del registro.
Ahora: tamvd run --data %s
`,
	}
	recoveredTexts = tap.Text{
		EN: "This node is the site's only member. Next: tamvd run --data %s, then invite new nodes; never start the lost ones again.\n",
		ES: "Este nodo es el único miembro del sitio. Ahora: tamvd run --data %s, y luego invite nodos nuevos; no vuelva a arrancar los perdidos.\n",
	}
)

// hints are what to do next, by the code of an error where it says enough, else by
// its kind: tamv.internal/tamv/tap has hints for those who send requests, which
// do not help who starts a node.
var hints = map[string]tap.Text{
	appliance.CodeInUse: {
		EN: "Stop the other tamvd first, or name another folder with --data.",
		ES: "Detenga antes el otro tamvd, o indique otra carpeta con --data.",
	},
	appliance.CodeAddressInUse: {
		EN: "Another program, or another tamvd, listens there: stop it, or choose another port with --listen. `ss -ltnp` shows who it is.",
		ES: "Otro programa, u otro tamvd, escucha ahí: deténgalo o elija otro puerto con --listen. `ss -ltnp` muestra cuál es.",
	},
	codeUnshown: {
		EN: "Without the code recovery.pem is worthless. Remove the data folder and run tamvd init again, with its output on a screen.",
		ES: "Sin el código, recovery.pem no vale nada. Borre la carpeta de datos y repita tamvd init con la salida en pantalla.",
	},
	codeSite: {
		EN: "Give --data, --nodes and --listen as when the site was made, or another folder.",
		ES: "Dé --data, --nodes y --listen como al crear el sitio, u otra carpeta.",
	},
	tap.Invalid.String(): {
		EN: "Correct the value that the message names; --help shows what the command takes.",
		ES: "Corrija el valor que nombra el mensaje; --help muestra qué admite la orden.",
	},
	tap.NotFound.String(): {
		EN: "Check the path that the message names, and --data.",
		ES: "Compruebe la ruta que nombra el mensaje, y --data.",
	},
	"no_node": {
		EN: "Check --data; without it the folder is /var/lib/tamv.",
		ES: "Compruebe --data; sin esa opción la carpeta es /var/lib/tamv.",
	},
	tap.Conflict.String(): {
		EN: "Run what is in the folder with tamvd run, or name an empty one with --data.",
		ES: "Ejecute lo que hay en la carpeta con tamvd run, o indique una vacía con --data.",
	},
	tap.Unavailable.String(): {
		EN: "Mend what the message names, then start again; nothing that was acknowledged is lost.",
		ES: "Arregle lo que nombra el mensaje y arranque de nuevo; nada confirmado se ha perdido.",
	},
	tap.Timeout.String(): {
		EN: "Look at the node's log, then start again; nothing that was acknowledged is lost.",
		ES: "Mire el registro del nodo y arranque de nuevo; nada confirmado se ha perdido.",
	},
	tap.Internal.String(): {
		EN: "This is a defect of the appliance. Keep this message and the node's log.",
		ES: "Es un defecto del sistema. Guarde este mensaje y el registro del nodo.",
	},
}

// joinHint is for what the site answered a machine that wants to join.
var joinHint = tap.Text{
	EN: "The manual's passage cluster-join-refused explains each code. An operator makes a new invitation with `tamvctl cluster invite`.",
	ES: "El pasaje cluster-join-refused del manual explica cada código. Un operador crea otra invitación con `tamvctl cluster invite`.",
}

// hint is what to do after an error.
func hint(e *tap.Error) tap.Text {
	if e.Code == cli.CodeUsage || e.Code == cli.CodeInterrupted {
		return tap.Text{} // as of every command
	}
	if text, ok := hints[e.StableCode()]; ok {
		return text
	}
	switch e.Kind {
	case tap.Unauthenticated, tap.Forbidden, tap.Limited:
		return joinHint
	case tap.Conflict:
		if e.Op == "" { // from afar
			return joinHint
		}
	}
	return hints[e.Kind.String()]
}
