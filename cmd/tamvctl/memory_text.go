package main

import "tamv.internal/tamv/tap"

// Texts of the verbs that take memory in and out.
var (
	textMemoryImport = tap.Text{EN: "Import documents, one JSON object per line.", ES: "Importa documentos, un objeto JSON por línea."}
	textMemoryExport = tap.Text{EN: "Export documents as an import takes them.", ES: "Exporta documentos tal como los admite una importación."}

	textFlagImportType     = tap.Text{EN: "document type of lines that name none", ES: "tipo de documento de las líneas que no lo indican"}
	textFlagImportMetadata = tap.Text{EN: "name=value, added to every line that does not have the name", ES: "nombre=valor, añadido a cada línea que no tiene el nombre"}
	textFlagImportModel    = tap.Text{EN: "model of vectors whose lines name none", ES: "modelo de los vectores cuyas líneas no lo indican"}
	textFlagImportAfter    = tap.Text{EN: "go on behind this line, as an interrupted import says", ES: "continúa detrás de esta línea, como indica una importación interrumpida"}
	textFlagStopOnError    = tap.Text{EN: "stop at the first refused line", ES: "se detiene en la primera línea rechazada"}
	textFlagParallel       = tap.Text{EN: "requests in flight, 1 to 16", ES: "solicitudes simultáneas, de 1 a 16"}
	textFlagVectors        = tap.Text{EN: "own (those that came with their document), all or none", ES: "own (los que llegaron con su documento), all o none"}
	textFlagExportAfter    = tap.Text{EN: "continue behind this document", ES: "continúa detrás de este documento"}

	textFlagRanking     = tap.Text{EN: "hybrid, rrf, meaning or words", ES: "hybrid, rrf, meaning o words"}
	textFlagQueryVector = tap.Text{EN: "search near this vector: a JSON array or base64, or @FILE", ES: "busca cerca de este vector: una lista JSON o base64, o @ARCHIVO"}
	textFlagQueryModel  = tap.Text{EN: "model that made --vector", ES: "modelo que produjo --vector"}
	textFlagWithPair    = tap.Text{EN: "only documents with name=value, repeatable", ES: "solo documentos con nombre=valor, repetible"}
	textFlagCreatedFrom = tap.Text{EN: "only documents created at or after this time (RFC 3339)", ES: "solo documentos creados a esta hora o después (RFC 3339)"}
	textFlagCreatedTo   = tap.Text{EN: "only documents created before this time", ES: "solo documentos creados antes de esta hora"}
	textFlagUpdatedFrom = tap.Text{EN: "only documents changed at or after this time", ES: "solo documentos cambiados a esta hora o después"}
	textFlagUpdatedTo   = tap.Text{EN: "only documents changed before this time", ES: "solo documentos cambiados antes de esta hora"}

	textFlagRecall = tap.Text{EN: "share of the true nearest to find, above 0 to 1; 1 compares all", ES: "parte de los verdaderos más cercanos que hallar, de más de 0 a 1; 1 los compara todos"}

	textNothingMatches = tap.Text{EN: "Memory holds nothing that matches.", ES: "La memoria no tiene nada que coincida."}

	textIndexing = tap.Text{EN: "being indexed", ES: "indexándose"}

	textFoundBy       = tap.Text{EN: "found by", ES: "hallado por"}
	textVersionNumber = tap.Text{EN: "version", ES: "versión"}
	textOwnVector     = tap.Text{EN: "own vector", ES: "vector propio"}
	textLines         = tap.Text{EN: "lines", ES: "líneas"}
	textCreatedCount  = tap.Text{EN: "created", ES: "creados"}
	textReplacedCount = tap.Text{EN: "replaced", ES: "sustituidos"}
	textUnchanged     = tap.Text{EN: "unchanged", ES: "sin cambios"}
	textRefusedCount  = tap.Text{EN: "refused", ES: "rechazados"}
	textCompleteTo    = tap.Text{EN: "complete to line", ES: "completo hasta la línea"}

	textImporting      = tap.Text{EN: "importing", ES: "importando"}
	textExporting      = tap.Text{EN: "exporting", ES: "exportando"}
	textDocumentsAt    = tap.Text{EN: "%d documents, %.0f/s", ES: "%d documentos, %.0f/s"}
	textLineRefused    = tap.Text{EN: "line %d: %s (%s)", ES: "línea %d: %s (%s)"}
	textContinueImport = tap.Text{EN: "Everything up to line %d is done. Continue with --after %d.", ES: "Todo hasta la línea %d está hecho. Continúe con --after %d."}
	textContinueExport = tap.Text{EN: "Everything up to %s was written. Continue with --after %s into another file.", ES: "Se escribió todo hasta %s. Continúe con --after %s en otro archivo."}
)
