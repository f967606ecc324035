package isabella

import "strings"

// cleared is the words of which a text may consist to be served without a
// classifier: the closed classes of both languages and the appliance's own
// nouns. No verb in it can name a deed that harms anybody.
var cleared = wordSet(`
	a an and are as at be by can could do does for from give has have hello help hi how i in is it its list many me mean means
	much my of on or our please say show tell than thank thanks that the their there these this to us used was we what when
	where which who why will with you your explain describe work works
	buenos buenas cual cuales cuando cuanto cuantos como con de del dia dias donde el en entre es esta este esto estan explica
	explicame gracias hay hola la las le lo los me mi mis muestra muestrame nos o para por porque que quien se ser si sirve
	significa son su sus tardes noches tu un una unas uno unos y ya yo describe funciona funcionan dime ayuda favor
	appliance audit backup backups balance bookpi checkpoint citizen currency document documents dreamspace dreamspaces evidence
	fund guardian guardians hash identity identities impact intent intents isabella anubis tcep tap tamv memory money node
	operations operator proof receipt room rooms role roles signature split status version ledger manual ticket
	auditoria ciudadano copia copias documento documentos evidencia fondo guardiana guardianes identidad identidades impacto
	intencion intenciones memoria dinero moneda nodo operaciones operador prueba recibo sala salas rol roles firma reparto
	estado registro saldo version 75 25
`)

func wordSet(list string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		set[w] = true
	}
	return set
}
