package main

import "tamv.internal/tamv/tap"

// Every text that a person reads, in both languages, by where it is shown. Field
// names of the API, roles, codes and file names are not translated.

// The command tree.
var (
	textRoot = tap.Text{EN: "Operate a TAMV appliance.", ES: "Opera un sistema TAMV."}

	textIdentity       = tap.Text{EN: "Enrol, list and revoke identities.", ES: "Registra, lista y revoca identidades."}
	textIdentityCreate = tap.Text{EN: "Enrol an identity, with a new key or somebody's public key.", ES: "Registra una identidad, con una clave nueva o la clave pública de alguien."}
	textIdentityList   = tap.Text{EN: "List identities by name.", ES: "Lista las identidades por nombre."}
	textIdentityShow   = tap.Text{EN: "Show an identity.", ES: "Muestra una identidad."}
	textIdentityRevoke = tap.Text{EN: "Revoke an identity for good.", ES: "Revoca una identidad para siempre."}
	textIdentityMe     = tap.Text{EN: "Show the identity that signs.", ES: "Muestra la identidad que firma."}

	textIntent     = tap.Text{EN: "Ask the appliance for something.", ES: "Pide algo al sistema."}
	textIntentSend = tap.Text{EN: "Send an intent and show its answer.", ES: "Envía una intención y muestra su respuesta."}
	textIntentShow = tap.Text{EN: "Show what became of a held intent.", ES: "Muestra qué fue de una intención retenida."}

	textMemory       = tap.Text{EN: "Add, find and remove what the appliance remembers.", ES: "Añade, busca y elimina lo que el sistema recuerda."}
	textMemoryAdd    = tap.Text{EN: "Add documents from a file or standard input.", ES: "Añade documentos de un archivo o de la entrada estándar."}
	textMemorySearch = tap.Text{EN: "Find passages by meaning.", ES: "Busca pasajes por su significado."}
	textMemoryList   = tap.Text{EN: "List documents by id.", ES: "Lista los documentos por identificador."}
	textMemoryShow   = tap.Text{EN: "Show a document.", ES: "Muestra un documento."}
	textMemoryRemove = tap.Text{EN: "Remove a document.", ES: "Elimina un documento."}

	textTCEP           = tap.Text{EN: "Book money by the 75/25 rule.", ES: "Contabiliza dinero según la regla 75/25."}
	textTCEPBook       = tap.Text{EN: "Book an amount and show its split.", ES: "Contabiliza un importe y muestra su reparto."}
	textTCEPShow       = tap.Text{EN: "Show a booking.", ES: "Muestra una anotación."}
	textTCEPBalances   = tap.Text{EN: "Show the accounts; each currency adds up to zero.", ES: "Muestra las cuentas; cada moneda suma cero."}
	textTCEPCurrencies = tap.Text{EN: "List the supported currencies.", ES: "Lista las monedas admitidas."}

	textEvidenceGroup      = tap.Text{EN: "Append, read, prove and verify evidence.", ES: "Añade, lee, prueba y verifica evidencia."}
	textEvidenceAppend     = tap.Text{EN: "Append an entry to the ledger.", ES: "Añade una entrada al registro."}
	textEvidenceList       = tap.Text{EN: "List entries, newest first.", ES: "Lista las entradas, primero las más recientes."}
	textEvidenceShow       = tap.Text{EN: "Show an entry.", ES: "Muestra una entrada."}
	textEvidenceProof      = tap.Text{EN: "Prove that an entry is in the ledger.", ES: "Prueba que una entrada está en el registro."}
	textEvidenceExport     = tap.Text{EN: "Take entries away: as lines of JSON, or with their proofs (.tamv).", ES: "Exporta entradas: como líneas JSON, o con sus pruebas (.tamv)."}
	textEvidenceVerify     = tap.Text{EN: "Verify an exported file offline.", ES: "Verifica sin conexión un archivo exportado."}
	textEvidenceCheckpoint = tap.Text{EN: "Show the signed summary of the ledger.", ES: "Muestra el resumen firmado del registro."}
	textEvidenceKey        = tap.Text{EN: "Show the key that evidence verifies with.", ES: "Muestra la clave con la que se verifica la evidencia."}

	textGuardian        = tap.Text{EN: "Decide about held intents.", ES: "Decide sobre las intenciones retenidas."}
	textGuardianList    = tap.Text{EN: "List held and decided intents.", ES: "Lista las intenciones retenidas y decididas."}
	textGuardianShow    = tap.Text{EN: "Show a held intent.", ES: "Muestra una intención retenida."}
	textGuardianApprove = tap.Text{EN: "Approve a held intent, which then runs.", ES: "Aprueba una intención retenida, que entonces se ejecuta."}
	textGuardianDeny    = tap.Text{EN: "Deny a held intent.", ES: "Deniega una intención retenida."}

	textRoom        = tap.Text{EN: "Open rooms and act in them.", ES: "Abre salas y actúa en ellas."}
	textRoomCreate  = tap.Text{EN: "Open a room.", ES: "Abre una sala."}
	textRoomList    = tap.Text{EN: "List rooms.", ES: "Lista las salas."}
	textRoomShow    = tap.Text{EN: "Show a room with its objects.", ES: "Muestra una sala con sus objetos."}
	textRoomHistory = tap.Text{EN: "List what happened in a room, in order.", ES: "Lista en orden lo ocurrido en una sala."}
	textRoomAct     = tap.Text{EN: "Put an object into a room, or remove it.", ES: "Coloca un objeto en una sala, o lo retira."}

	textStatus      = tap.Text{EN: "Show the state of the node.", ES: "Muestra el estado del nodo."}
	textReadyShort  = tap.Text{EN: "Show whether the node is ready, and what is missing.", ES: "Muestra si el nodo está listo, y qué falta."}
	textAPI         = tap.Text{EN: "Sign and send any request.", ES: "Firma y envía cualquier solicitud."}
	textDemo        = tap.Text{EN: "Show the whole appliance at work, in eight steps.", ES: "Muestra todo el sistema en marcha, en ocho pasos."}
	textContext     = tap.Text{EN: "Look at the context: which appliance, and as whom.", ES: "Consulta el contexto: qué sistema, y como quién."}
	textContextShow = tap.Text{EN: "Show the context, and check its files.", ES: "Muestra el contexto y comprueba sus archivos."}
	textVersion     = tap.Text{EN: "Print the release.", ES: "Muestra la versión."}
)

// Flags.
var (
	textFlagContext     = tap.Text{EN: "context file; TAMV_CONTEXT when absent", ES: "archivo de contexto; TAMV_CONTEXT si falta"}
	textFlagOutput      = tap.Text{EN: "table, json or yaml", ES: "table, json o yaml"}
	textFlagLang        = tap.Text{EN: "en or es; the locale when absent", ES: "en o es; el del entorno si falta"}
	textFlagConsistency = tap.Text{
		EN: "how fresh what is read must be: local, leader (default) or linearizable",
		ES: "cuán reciente debe ser lo leído: local, leader (por defecto) o linearizable",
	}
	textFlagTimeout = tap.Text{EN: "how long one request, or one step of the demonstration, may take", ES: "cuánto puede durar una solicitud, o un paso de la demostración"}

	textFlagLimit = tap.Text{EN: "rows per page", ES: "filas por página"}
	textFlagAfter = tap.Text{EN: "continue behind this row", ES: "continúa detrás de esta fila"}

	textFlagRoles       = tap.Text{EN: "citizen, device, curator, guardian, auditor, operator", ES: "citizen, device, curator, guardian, auditor, operator (ciudadanía, dispositivo, curaduría, guardián, auditoría, operación)"}
	textFlagKeyFile     = tap.Text{EN: "enrol the key in this file, which is made if it is not there", ES: "registra la clave de este archivo, que se crea si no existe"}
	textFlagPublicKey   = tap.Text{EN: "enrol this public key: base64 of 32 bytes, Ed25519", ES: "registra esta clave pública: base64 de 32 bytes, Ed25519"}
	textFlagSaveContext = tap.Text{EN: "write a context file for the new identity", ES: "escribe un archivo de contexto para la identidad nueva"}
	textFlagReason      = tap.Text{EN: "why, for the record", ES: "el motivo, para que conste"}

	textFlagIntentType   = tap.Text{EN: "what kind of wish: question, scene, payment, ...", ES: "qué clase de deseo: question, scene, payment, ..."}
	textFlagInputType    = tap.Text{EN: "text, image, spatial, audio or multimodal", ES: "text, image, spatial, audio o multimodal"}
	textFlagFile         = tap.Text{EN: "take the data from a file, - for standard input; several for multimodal", ES: "toma los datos de un archivo, - para la entrada estándar; varios con multimodal"}
	textFlagContextText  = tap.Text{EN: "what the audit should know besides, such as a purpose", ES: "lo que la auditoría debe saber además, como un propósito"}
	textFlagProfile      = tap.Text{EN: "STANDARD, STRICT_DEKATEOTL or RESEARCH", ES: "STANDARD, STRICT_DEKATEOTL o RESEARCH"}
	textFlagJurisdiction = tap.Text{EN: "whose law applies: MX, ES-MD, INTL, ...", ES: "qué derecho rige: MX, ES-MD, INTL, ..."}

	textFlagDocumentType     = tap.Text{EN: "document type, such as MANUAL", ES: "tipo de documento, como MANUAL"}
	textFlagDocumentID       = tap.Text{EN: "id of the document; of several, id-1, id-2, ...", ES: "identificador del documento; de varios, id-1, id-2, ..."}
	textFlagDocumentMetadata = tap.Text{EN: "name=value, repeatable", ES: "nombre=valor, repetible"}
	textFlagTitle            = tap.Text{EN: "title, found with the text and shown in citations", ES: "título, se busca con el texto y se muestra en las citas"}
	textFlagFormat           = tap.Text{EN: "text (cut between paragraphs at 8 KiB) or jsonl (a document per line); by the file's name when absent", ES: "text (cortado entre párrafos a los 8 KiB) o jsonl (un documento por línea); según el nombre del archivo si falta"}
	textFlagSearchLimit      = tap.Text{EN: "how many passages, 1 to 50", ES: "cuántos pasajes, de 1 a 50"}
	textFlagThreshold        = tap.Text{EN: "least similarity, 0 to 1; the model's own when absent", ES: "similitud mínima, de 0 a 1; la del modelo si falta"}

	textFlagSource    = tap.Text{EN: "where the money comes from", ES: "de dónde viene el dinero"}
	textFlagPurpose   = tap.Text{EN: "what it is for", ES: "para qué es"}
	textFlagRequestID = tap.Text{EN: "UUID; the same one again is not done twice", ES: "UUID; el mismo otra vez no se ejecuta dos veces"}
	textFlagCurrency  = tap.Text{EN: "only this currency", ES: "solo esta moneda"}

	textFlagData         = tap.Text{EN: "JSON, or @FILE, or @- for standard input", ES: "JSON, o @ARCHIVO, o @- para la entrada estándar"}
	textFlagSubject      = tap.Text{EN: "the person whom it concerns: the data is sealed, and erased with this person", ES: "la persona a la que concierne: los datos se sellan y se borran con ella"}
	textFlagActor        = tap.Text{EN: "only what this identity did", ES: "solo lo que hizo esta identidad"}
	textFlagAction       = tap.Text{EN: "only this action; ending in . or *, all that begin so", ES: "solo esta acción; si acaba en . o *, las que empiezan así"}
	textFlagFrom         = tap.Text{EN: "not before this time (RFC 3339)", ES: "no antes de esta hora (RFC 3339)"}
	textFlagTo           = tap.Text{EN: "before this time (RFC 3339)", ES: "antes de esta hora (RFC 3339)"}
	textFlagFromPosition = tap.Text{EN: "first position", ES: "primera posición"}
	textFlagToPosition   = tap.Text{EN: "position behind the last", ES: "posición detrás de la última"}
	textFlagOut          = tap.Text{EN: "file to write, - for standard output", ES: "archivo que se escribe, - para la salida estándar"}
	textFlagVerifierKey  = tap.Text{EN: "the log's public key, or @FILE with it; ask for it by another way than the bundle came", ES: "la clave pública del registro, o @ARCHIVO con ella; obténgala por otra vía que el archivo"}
	textFlagPayload      = tap.Text{EN: "show the payloads too", ES: "muestra también los contenidos"}

	textFlagState = tap.Text{EN: "held, approved or denied", ES: "held, approved o denied"}

	textFlagRoomName   = tap.Text{EN: "name of the room", ES: "nombre de la sala"}
	textFlagObjectType = tap.Text{EN: "what the object is", ES: "qué es el objeto"}
	textFlagPosition   = tap.Text{EN: "metres", ES: "metros"}
	textFlagRotation   = tap.Text{EN: "as the participants agree, radians by custom", ES: "según acuerdo de los participantes, radianes por costumbre"}
	textFlagScale      = tap.Text{EN: "factors", ES: "factores"}
	textFlagMetadata   = tap.Text{EN: "JSON object, or @FILE", ES: "objeto JSON, o @ARCHIVO"}
)

// Names of fields and columns.
var (
	textAccounts      = tap.Text{EN: "accounts", ES: "cuentas"}
	textAction        = tap.Text{EN: "action", ES: "acción"}
	textActor         = tap.Text{EN: "actor", ES: "actor"}
	textAddress       = tap.Text{EN: "address", ES: "dirección"}
	textAmount        = tap.Text{EN: "amount", ES: "importe"}
	textAudit         = tap.Text{EN: "audit", ES: "auditoría"}
	textAuthor        = tap.Text{EN: "author", ES: "autor"}
	textBasis         = tap.Text{EN: "basis", ES: "base"}
	textBooked        = tap.Text{EN: "booked", ES: "anotado"}
	textBytes         = tap.Text{EN: "bytes", ES: "bytes"}
	textCA            = tap.Text{EN: "ca", ES: "ca"}
	textCode          = tap.Text{EN: "code", ES: "código"}
	textCondition     = tap.Text{EN: "condition", ES: "condición"}
	textContent       = tap.Text{EN: "content", ES: "contenido"}
	textContextFile   = tap.Text{EN: "context", ES: "contexto"}
	textCreated       = tap.Text{EN: "created", ES: "creado"}
	textCreator       = tap.Text{EN: "creator", ES: "creador"}
	textCurrency      = tap.Text{EN: "currency", ES: "moneda"}
	textDecided       = tap.Text{EN: "decided", ES: "decidido"}
	textDecimals      = tap.Text{EN: "decimals", ES: "decimales"}
	textDegraded      = tap.Text{EN: "degraded", ES: "degradado"}
	textDocument      = tap.Text{EN: "document", ES: "documento"}
	textDocuments     = tap.Text{EN: "documents", ES: "documentos"}
	textDuplicate     = tap.Text{EN: "duplicate", ES: "duplicado"}
	textEconomy       = tap.Text{EN: "economy", ES: "economía"}
	textEnrolled      = tap.Text{EN: "enrolled", ES: "registrada"}
	textEntries       = tap.Text{EN: "entries", ES: "entradas"}
	textEvidence      = tap.Text{EN: "evidence", ES: "evidencia"}
	textExplanation   = tap.Text{EN: "explanation", ES: "explicación"}
	textFile          = tap.Text{EN: "file", ES: "archivo"}
	textFrom          = tap.Text{EN: "from", ES: "desde"}
	textFund          = tap.Text{EN: "impact fund", ES: "fondo de impacto"}
	textGuardianName  = tap.Text{EN: "guardian", ES: "guardián"}
	textHint          = tap.Text{EN: "hint", ES: "consejo"}
	textHolds         = tap.Text{EN: "holds", ES: "se cumple"}
	textImpact        = tap.Text{EN: "impact 75 %", ES: "impacto 75 %"}
	textIntentBody    = tap.Text{EN: "intent", ES: "intención"}
	textIntentID      = tap.Text{EN: "id", ES: "id"}
	textJurisdiction  = tap.Text{EN: "jurisdiction", ES: "jurisdicción"}
	textKeyFile       = tap.Text{EN: "key file", ES: "archivo de clave"}
	textKeyID         = tap.Text{EN: "key id", ES: "id de clave"}
	textLedgerSize    = tap.Text{EN: "ledger size", ES: "entradas del registro"}
	textMessage       = tap.Text{EN: "message", ES: "mensaje"}
	textMetadata      = tap.Text{EN: "metadata", ES: "metadatos"}
	textModel         = tap.Text{EN: "model", ES: "modelo"}
	textModels        = tap.Text{EN: "models", ES: "modelos"}
	textName          = tap.Text{EN: "name", ES: "nombre"}
	textNode          = tap.Text{EN: "node", ES: "nodo"}
	textNumber        = tap.Text{EN: "no.", ES: "n.º"}
	textObject        = tap.Text{EN: "object", ES: "objeto"}
	textOperations    = tap.Text{EN: "operations 25 %", ES: "operaciones 25 %"}
	textOrigin        = tap.Text{EN: "ledger", ES: "registro"}
	textOutcome       = tap.Text{EN: "outcome", ES: "resultado"}
	textPayload       = tap.Text{EN: "payload", ES: "contenido"}
	textPayloadDigest = tap.Text{EN: "payload digest", ES: "resumen del contenido"}
	textPayloads      = tap.Text{EN: "payloads", ES: "contenidos"}
	textPlace         = tap.Text{EN: "position", ES: "posición"}
	textPosition      = tap.Text{EN: "position", ES: "posición"}
	textPositions     = tap.Text{EN: "positions", ES: "posiciones"}
	textPrevious      = tap.Text{EN: "previous", ES: "anterior"}
	textProfile       = tap.Text{EN: "profile", ES: "perfil"}
	textProof         = tap.Text{EN: "proof", ES: "prueba"}
	textPublicKey     = tap.Text{EN: "public key", ES: "clave pública"}
	textPurpose       = tap.Text{EN: "purpose", ES: "finalidad"}
	textReady         = tap.Text{EN: "ready", ES: "listo"}
	textReason        = tap.Text{EN: "reason", ES: "motivo"}
	textRelease       = tap.Text{EN: "release", ES: "versión"}
	textRemoved       = tap.Text{EN: "removed", ES: "eliminado"}
	textRepeated      = tap.Text{EN: "repeated", ES: "repetida"}
	textRequest       = tap.Text{EN: "request", ES: "solicitud"}
	textRevoked       = tap.Text{EN: "revoked", ES: "revocada"}
	textRoles         = tap.Text{EN: "roles", ES: "roles"}
	textRoomID        = tap.Text{EN: "room", ES: "sala"}
	textMerkleRoot    = tap.Text{EN: "root", ES: "raíz"}
	textRotation      = tap.Text{EN: "rotation", ES: "rotación"}
	textScale         = tap.Text{EN: "scale", ES: "escala"}
	textScore         = tap.Text{EN: "score", ES: "puntuación"}
	textSequence      = tap.Text{EN: "sequence", ES: "secuencia"}
	textSimilarity    = tap.Text{EN: "similarity", ES: "similitud"}
	textSource        = tap.Text{EN: "source", ES: "origen"}
	textSources       = tap.Text{EN: "sources", ES: "orígenes"}
	textSpatial       = tap.Text{EN: "spatial", ES: "espacial"}
	textStale         = tap.Text{EN: "stale", ES: "obsoleto"}
	textState         = tap.Text{EN: "state", ES: "estado"}
	textSubmitted     = tap.Text{EN: "submitted", ES: "enviada"}
	textSubmitter     = tap.Text{EN: "submitter", ES: "remitente"}
	textSum           = tap.Text{EN: "sum", ES: "suma"}
	textTicket        = tap.Text{EN: "ticket", ES: "expediente"}
	textTime          = tap.Text{EN: "time", ES: "hora"}
	textTitle         = tap.Text{EN: "title", ES: "título"}
	textTo            = tap.Text{EN: "to", ES: "hasta"}
	textTransaction   = tap.Text{EN: "transaction", ES: "transacción"}
	textType          = tap.Text{EN: "type", ES: "tipo"}
	textUpdated       = tap.Text{EN: "updated", ES: "actualizado"}
	textUptime        = tap.Text{EN: "uptime", ES: "en marcha"}
	textVerified      = tap.Text{EN: "verified", ES: "verificado"}

	textYes = tap.Text{EN: "yes", ES: "sí"}
	textNo  = tap.Text{EN: "no", ES: "no"}
)

// Sentences.
var (
	textNoContext      = tap.Text{EN: "no context: which appliance, and as whom?", ES: "sin contexto: ¿qué sistema, y como quién?"}
	textNoIntent       = tap.Text{EN: "an intent is TEXT or --file, and one of them unless --input-type is multimodal", ES: "una intención es TEXT o --file, y solo uno salvo con --input-type multimodal"}
	textNothingFound   = tap.Text{EN: "Memory holds nothing with a similarity of %.2f or more.", ES: "La memoria no tiene nada con una similitud de %.2f o más."}
	textNotReady       = tap.Text{EN: "the node is not ready", ES: "el nodo no está listo"}
	textMemoryProgress = tap.Text{EN: "adding documents", ES: "añadiendo documentos"}
	textExportProgress = tap.Text{EN: "collecting evidence and proofs", ES: "reuniendo evidencia y pruebas"}
	textAddedBefore    = tap.Text{EN: "%d of %d documents were added before the error.", ES: "%d de %d documentos se añadieron antes del error."}
)

// Hints: what to do after an error.
var (
	textHintFile        = tap.Text{EN: "Check the name and the permissions of the file that the message names.", ES: "Compruebe el nombre y los permisos del archivo que nombra el mensaje."}
	textHintNoSpace     = tap.Text{EN: "Free some space, or choose another disk, and give the command again; nothing half written counts.", ES: "Libere espacio, o elija otro disco, y repita la orden; nada escrito a medias cuenta."}
	textHintContext     = tap.Text{EN: "Use the context.json in a data folder; tamvd writes it once the node serves. `tamvctl context show` checks one.", ES: "Use el context.json de una carpeta de datos; tamvd lo escribe cuando el nodo sirve. `tamvctl context show` comprueba uno."}
	textHintUnsigned    = tap.Text{EN: "The context names nobody: add identity (TENANT/NAME) and key (its file), or use the operator's context of the first node.", ES: "El contexto no nombra a nadie: añada identity (TENANT/NOMBRE) y key (su archivo), o use el contexto del operador en el primer nodo."}
	textHintNoAnswer    = tap.Text{EN: "Look at `tamvctl ready`, and give it more time with --timeout. What was asked for may have been done: look before you repeat it.", ES: "Mire `tamvctl ready` y dele más tiempo con --timeout. Lo pedido puede haberse hecho: compruébelo antes de repetir."}
	textHintNoContext   = tap.Text{EN: "Start `tamvd dev --data DIR`, then use --context DIR/context.json or set TAMV_CONTEXT to it.", ES: "Inicie `tamvd dev --data DIR` y use --context DIR/context.json, o ponga su ruta en TAMV_CONTEXT."}
	textHintInput       = tap.Text{EN: "Correct the value or the file that the message names; --help shows what the command takes.", ES: "Corrija el valor o el archivo que nombra el mensaje; --help muestra qué admite la orden."}
	textHintBroken      = tap.Text{EN: "The file was changed after it was signed, or the key is another log's. Keep it, and ask for a new export.", ES: "El archivo se cambió después de firmarse, o la clave es de otro registro. Guárdelo y pida otra exportación."}
	textHintKeyPerms    = tap.Text{EN: "Make the key readable by you alone: chmod 600 FILE.", ES: "Haga que solo usted pueda leer la clave: chmod 600 ARCHIVO."}
	textHintUnreachable = tap.Text{EN: "Is tamvd running at the context's address? `tamvctl context show` prints it.", ES: "¿Está tamvd en marcha en la dirección del contexto? `tamvctl context show` la muestra."}
	textHintCertificate = tap.Text{EN: "Another server answers at this address, or the CA file of the context is not this appliance's.", ES: "En esta dirección responde otro servidor, o el archivo CA del contexto no es de este sistema."}
	textHintOwnIntent   = tap.Text{EN: "Another guardian has to decide about this intent.", ES: "Otro guardián tiene que decidir sobre esta intención."}
	textHintNotOwn      = tap.Text{EN: "Ask somebody with the role auditor.", ES: "Pídalo a alguien con el rol auditor."}
	textHintExpired     = tap.Text{EN: "Set this machine's clock: signatures hold for five minutes.", ES: "Ponga en hora el reloj de esta máquina: las firmas valen cinco minutos."}
	textHintRevoked     = tap.Text{EN: "This identity cannot act any more. Ask an operator for a new one.", ES: "Esta identidad ya no puede actuar. Pida una nueva a un operador."}
	textHintCurrency    = tap.Text{EN: "`tamvctl tcep currencies` lists what is supported.", ES: "`tamvctl tcep currencies` muestra las admitidas."}
)
