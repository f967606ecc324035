package main

import "tamv.internal/tamv/tap"

// Texts of the verbs for auditors, witnesses and couriers.
var (
	textEvidenceAudit  = tap.Text{EN: "Check a whole ledger: a mirror, a URL, or the appliance's own.", ES: "Comprueba un registro entero: una copia, una URL o el del propio sistema."}
	textEvidenceMirror = tap.Text{EN: "Copy the ledger into a folder, or bring the copy up to date.", ES: "Copia el registro en una carpeta, o pone la copia al día."}
	textEvidenceTail   = tap.Text{EN: "Follow entries as they are appended.", ES: "Sigue las entradas a medida que se añaden."}
	textEvidencePolicy = tap.Text{EN: "Write down whom to trust, as a policy file: keys that you give, or what the site suggests.", ES: "Anota en quién confiar, como archivo de política: las claves que usted da, o lo que sugiere el sitio."}
	textSegments       = tap.Text{EN: "List the ledger's sealed files, and what is archived.", ES: "Lista los archivos sellados del registro, y lo archivado."}
	textArchive        = tap.Text{EN: "Copy sealed files out, check them, and let their entries leave the site; proofs stay.", ES: "Copia archivos sellados, los comprueba y deja salir del sitio sus entradas; las pruebas quedan."}
	textRotateKey      = tap.Text{EN: "Have the ledger signed with new keys from now on.", ES: "Hace firmar el registro con claves nuevas desde ahora."}

	textAnchors        = tap.Text{EN: "Show which witnesses saw what, and carry checkpoints to them.", ES: "Muestra qué vio cada testigo, y les lleva puntos de control."}
	textAnchorsList    = tap.Text{EN: "List the witnesses, and how far behind each is.", ES: "Lista los testigos y cuánto retraso lleva cada uno."}
	textAnchorsRequest = tap.Text{EN: "Make what a courier carries to a witness, as a file or as QR codes.", ES: "Prepara lo que un mensajero lleva a un testigo, en archivo o en códigos QR."}
	textAnchorsAdd     = tap.Text{EN: "Take in the cosignatures that a courier brought back: files, or pictures of QR codes.", ES: "Recoge las cofirmas que trajo un mensajero: archivos o imágenes de códigos QR."}

	textSiteWitness       = tap.Text{EN: "Say which witnesses the site knows.", ES: "Indica qué testigos conoce el sitio."}
	textSiteWitnessAdd    = tap.Text{EN: "Register a witness's keys, one a line.", ES: "Registra las claves de un testigo, una por línea."}
	textSiteWitnessRemove = tap.Text{EN: "Forget a witness.", ES: "Olvida a un testigo."}
	textSiteWitnessList   = tap.Text{EN: "List the witnesses that the site knows.", ES: "Lista los testigos que conoce el sitio."}

	textWitness       = tap.Text{EN: "Be a witness of ledgers, without any network.", ES: "Sé testigo de registros, sin red alguna."}
	textWitnessInit   = tap.Text{EN: "Make a witness's keys in a new folder, and print the public ones.", ES: "Crea las claves de un testigo en una carpeta nueva, y muestra las públicas."}
	textWitnessTrust  = tap.Text{EN: "Say which ledgers the witness knows: their keys, or a key history.", ES: "Indica qué registros conoce el testigo: sus claves, o un historial de claves."}
	textWitnessCosign = tap.Text{EN: "Cosign checkpoints that extend what was seen before; refuse all others.", ES: "Cofirma puntos de control que amplían lo visto; rechaza todos los demás."}
	textWitnessShow   = tap.Text{EN: "Show the witness's keys, what it saw last, and conflicts.", ES: "Muestra las claves del testigo, lo último que vio y los conflictos."}
)

// Flags.
var (
	textFlagPolicy         = tap.Text{EN: "C2SP policy file: which ledgers to believe, and which witnesses must have cosigned", ES: "archivo de política C2SP: a qué registros creer, y qué testigos deben haber cofirmado"}
	textFlagPolicyLog      = tap.Text{EN: "`KEY` of a ledger to believe, or @FILE with its keys; asks no site", ES: "`CLAVE` de un registro al que creer, o @ARCHIVO con sus claves; no pregunta a ningún sitio"}
	textFlagPolicyWitness  = tap.Text{EN: "`KEY` of a witness, or @FILE with its keys, from the witness itself; keys of one name are one witness", ES: "`CLAVE` de un testigo, o @ARCHIVO con sus claves, del propio testigo; las claves de un mismo nombre son un testigo"}
	textFlagPolicyQuorum   = tap.Text{EN: "how many of the witnesses must have cosigned; all when absent", ES: "cuántos de los testigos deben haber cofirmado; todos si falta"}
	textFlagEntryFile      = tap.Text{EN: "file with the encoded entry that a tlog-proof is about, when it does not carry it", ES: "archivo con la entrada codificada de un tlog-proof, si no la lleva"}
	textFlagRecord         = tap.Text{EN: "the same in base64", ES: "lo mismo en base64"}
	textFlagProofOut       = tap.Text{EN: "write it as a C2SP tlog-proof, - for standard output", ES: "la escribe como tlog-proof de C2SP, - para la salida estándar"}
	textFlagVisit          = tap.Text{EN: "file that remembers this visit, and what the ledger must still contain at the next", ES: "archivo que recuerda esta visita, y lo que el registro debe seguir conteniendo en la próxima"}
	textFlagSinceLast      = tap.Text{EN: "check only what came since the visit that --state remembers; whole when there was none", ES: "comprueba solo lo llegado desde la visita que recuerda --state; entero si no hubo ninguna"}
	textFlagContinue       = tap.Text{EN: "how many damages to list before stopping", ES: "cuántos daños listar antes de parar"}
	textFlagPayloads       = tap.Text{EN: "present (check those that are there), required or ignored", ES: "present (comprueba los que hay), required o ignored"}
	textFlagMirrorFrom     = tap.Text{EN: "copy from this URL or folder; the context's appliance when absent", ES: "copia desde esta URL o carpeta; del sistema del contexto si falta"}
	textFlagMirrorPayloads = tap.Text{EN: "take the payloads too", ES: "copia también los contenidos"}
	textFlagArchiveTo      = tap.Text{EN: "folder for the copies", ES: "carpeta para las copias"}
	textFlagTarget         = tap.Text{EN: "where the copies will be, for the record; the folder when absent", ES: "dónde estarán las copias, para que conste; la carpeta si falta"}
	textFlagCopyOnly       = tap.Text{EN: "copy and check only; nothing leaves the site", ES: "solo copia y comprueba; nada sale del sitio"}
	textFlagSegments       = tap.Text{EN: "folder with segment files, for entries that are archived", ES: "carpeta con archivos de segmentos, para las entradas archivadas"}
	textFlagHistory        = tap.Text{EN: "print the signed history of the keys instead", ES: "muestra en su lugar el historial firmado de las claves"}
	textFlagKeyHistory     = tap.Text{EN: "key history of the log: believe every key that --key vouches for", ES: "historial de claves del registro: cree en cada clave que --key avala"}
	textFlagCosigned       = tap.Text{EN: "only with a checkpoint that enough witnesses cosigned", ES: "solo con un punto de control que cofirmaron testigos suficientes"}
	textFlagOpen           = tap.Text{EN: "disclose the keys of the sealed payloads in the bundle", ES: "revela las claves de los contenidos sellados del paquete"}
	textFlagTailAfter      = tap.Text{EN: "begin behind this position; with what comes next when absent", ES: "empieza detrás de esta posición; con lo que venga si falta"}
	textFlagTailLimit      = tap.Text{EN: "stop after so many entries; never when absent", ES: "para tras tantas entradas; nunca si falta"}
	textFlagQR             = tap.Text{EN: "draw QR codes into this folder, - for the terminal", ES: "dibuja códigos QR en esta carpeta, - para el terminal"}
	textFlagOld            = tap.Text{EN: "size that the witness saw last; what the site knows when absent", ES: "tamaño que el testigo vio por última vez; el que conoce el sitio si falta"}
	textFlagRequestFile    = tap.Text{EN: "the request that was cosigned, or its checkpoint, when the site does not keep it any more", ES: "la petición que se cofirmó, o su punto de control, si el sitio ya no lo guarda"}
	textFlagCosignOut      = tap.Text{EN: "file for the cosignatures, a folder when there are several requests, - for standard output", ES: "archivo para las cofirmas, una carpeta si hay varias peticiones, - para la salida estándar"}
)

// Names of values.
var (
	textAlgorithm       = tap.Text{EN: "algorithm", ES: "algoritmo"}
	textAnchored        = tap.Text{EN: "anchored", ES: "anclado"}
	textArchived        = tap.Text{EN: "archived", ES: "archivado"}
	textSHA256          = tap.Text{EN: "hash (SHA-256)", ES: "resumen (SHA-256)"}
	textCheckpoints     = tap.Text{EN: "checkpoints", ES: "puntos de control"}
	textConflict        = tap.Text{EN: "conflict", ES: "conflicto"}
	textCosignatureFile = tap.Text{EN: "cosignatures", ES: "cofirmas"}
	textCosignedBy      = tap.Text{EN: "cosigned by", ES: "cofirmado por"}
	textFiles           = tap.Text{EN: "files", ES: "archivos"}
	textFolder          = tap.Text{EN: "folder", ES: "carpeta"}
	textLastVisit       = tap.Text{EN: "last visit", ES: "última visita"}
	textLog             = tap.Text{EN: "ledger name", ES: "nombre del registro"}
	textOpenings        = tap.Text{EN: "opened payloads", ES: "contenidos abiertos"}
	textPart            = tap.Text{EN: "part", ES: "parte"}
	textQuorum          = tap.Text{EN: "quorum", ES: "quórum"}
	textRequestFile     = tap.Text{EN: "request in pictures", ES: "petición en imágenes"}
	textSeen            = tap.Text{EN: "seen", ES: "visto"}
	textSince           = tap.Text{EN: "entries since", ES: "entradas desde entonces"}
	textVerifierKey     = tap.Text{EN: "verifier key", ES: "clave de verificación"}
	textWithheld        = tap.Text{EN: "withheld", ES: "retenidos"}
	textWitnessName     = tap.Text{EN: "witness", ES: "testigo"}
)

// Sentences.
var (
	textAuditWhole      = tap.Text{EN: "whole: every entry since the first", ES: "entera: cada entrada desde la primera"}
	textAuditSinceLast  = tap.Text{EN: "since the last visit: entries from position %d on; those before were not read again", ES: "desde la última visita: entradas desde la posición %d; las anteriores no se releyeron"}
	textAuditing        = tap.Text{EN: "checking", ES: "comprobando"}
	textSearching       = tap.Text{EN: "searching below position %d", ES: "buscando por debajo de la posición %d"}
	textListArchived    = tap.Text{EN: "Older entries have left the site: `tamvctl evidence segments` says which files have them.", ES: "Las entradas anteriores salieron del sitio: `tamvctl evidence segments` dice qué archivos las tienen."}
	textMirroring       = tap.Text{EN: "copying", ES: "copiando"}
	textEntriesAt       = tap.Text{EN: "%d of %d entries, %.0f/s", ES: "%d de %d entradas, %.0f/s"}
	textArchivedBefore  = tap.Text{EN: "%d segments were archived before the error.", ES: "%d segmentos se archivaron antes del error."}
	textCopying         = tap.Text{EN: "copying segment %d: %d MiB, %.1f MiB/s", ES: "copiando el segmento %d: %d MiB, %.1f MiB/s"}
	textOnDisk          = tap.Text{EN: "On this node: %d bytes with entries, %d left of archived ones, %d gone.", ES: "En este nodo: %d bytes con entradas, %d de lo archivado, %d ya fuera."}
	textFirstUse        = tap.Text{EN: "The keys came from the ledger itself. Compare the file \"key\" in the folder with what its operators say.", ES: "Las claves vinieron del propio registro. Compare el archivo «key» de la carpeta con lo que digan sus operadores."}
	textFramesDrawn     = tap.Text{EN: "%d pictures are in %s; show or print each, and photograph all of them.", ES: "Hay %d imágenes en %s; muestre o imprima cada una, y fotografíe todas."}
	textPolicyComposed  = tap.Text{EN: "%d of %d witnesses must have cosigned a checkpoint.", ES: "Deben haber cofirmado un punto de control %d de %d testigos."}
	textPolicyAdvice    = tap.Text{EN: "This is what the site says. Take keys from the witnesses themselves before you rely on them.", ES: "Esto es lo que dice el sitio. Obtenga las claves de los propios testigos antes de confiar en ellas."}
	textRotationPending = tap.Text{EN: "the new keys were asked for, and nobody has made them yet", ES: "se pidieron las claves nuevas, y nadie las ha creado todavía"}
	textSplitViewLoud   = tap.Text{EN: "THE LEDGER SIGNED TWO HISTORIES. Do not cosign anything of it. Keep the file and show it to everybody.", ES: "EL REGISTRO FIRMÓ DOS HISTORIAS. No cofirme nada suyo. Guarde el archivo y enséñelo a todos."}
)

// Hints.
var (
	textHintQuorum           = tap.Text{EN: "The file is genuine, but too few of the policy's witnesses cosigned it. Ask for a newer one with --cosigned.", ES: "El archivo es auténtico, pero lo cofirmaron menos testigos de los que pide la política. Pida uno más nuevo con --cosigned."}
	textHintSplitView        = tap.Text{EN: "Keep every file. The ledger's key signed two histories: its operator, or a thief of the key, deceived somebody.", ES: "Guarde todos los archivos. La clave del registro firmó dos historias: su operador, o quien robó la clave, engañó a alguien."}
	textHintRolledBack       = tap.Text{EN: "Entries that were there are missing. If this is a mirror, bring it up to date; else ask the operators which backup was restored. Keep your files.", ES: "Faltan entradas que estaban. Si es una copia, póngala al día; si no, pregunte a los operadores qué respaldo se restauró. Guarde sus archivos."}
	textHintOtherLog         = tap.Text{EN: "Use another folder or state file for each ledger.", ES: "Use otra carpeta u otro archivo de estado para cada registro."}
	textHintUnknownLog       = tap.Text{EN: "`tamvctl witness trust DIR LOGKEY` first, with a key that you have from its operators.", ES: "Primero `tamvctl witness trust DIR LOGKEY`, con una clave que tenga de sus operadores."}
	textHintStale            = tap.Text{EN: "Ask the site for a request from the size that the witness saw: tamvctl evidence anchors request WITNESS --old SIZE.", ES: "Pida al sitio una petición desde el tamaño que vio el testigo: tamvctl evidence anchors request TESTIGO --old TAMAÑO."}
	textHintLocked           = tap.Text{EN: "Wait until the other tamvctl has finished.", ES: "Espere a que termine el otro tamvctl."}
	textHintWitness          = tap.Text{EN: "Make a new one with `tamvctl witness init NAME DIR`; never edit a witness's files, and never restore old ones.", ES: "Cree uno nuevo con `tamvctl witness init NAME DIR`; nunca edite los archivos de un testigo ni restaure antiguos."}
	textHintFrames           = tap.Text{EN: "Photograph each code again, whole, straight and sharp, and give all pictures of one file at once.", ES: "Fotografíe de nuevo cada código, entero, recto y nítido, y dé de una vez todas las imágenes de un archivo."}
	textHintUnknownWitness   = tap.Text{EN: "Register the witness first: `tamvctl evidence witness add KEY`.", ES: "Registre antes al testigo: `tamvctl evidence witness add KEY`."}
	textHintCheckpointNeeded = tap.Text{EN: "Add --request with the file that was carried to the witness.", ES: "Añada --request con el archivo que se llevó al testigo."}
	textHintNotAnchored      = tap.Text{EN: "Carry a request to the witnesses first, or leave --cosigned away.", ES: "Lleve antes una petición a los testigos, o quite --cosigned."}
	textHintArchived         = tap.Text{EN: "Ask the operators for the segment's file, and give its folder with --segments.", ES: "Pida a los operadores el archivo del segmento, e indique su carpeta con --segments."}
	textHintBlocked          = tap.Text{EN: "Too many attempts from this address failed. An operator lifts it: `tamvctl security lift ADDRESS`.", ES: "Fallaron demasiados intentos desde esta dirección. Un operador la libera: `tamvctl security lift ADDRESS`."}
)
