package memory

// functionWords are words that say nothing about a subject, by their hash. BM25
// weighs them by their frequency like any other; but in a small collection "who"
// may be rare, so what a query is about is judged without them.
var functionWords = func() map[uint64]bool {
	const list = `
		a about after all am an and any are as at be been before being but by can could did do does doing for from
		had has have having he her here hers him his how i if in into is it its just me more most my no nor not of off
		on once only or other our out over own same she should so some such than that the their them then there
		these they this those through to too under until up very was we were what when where which while who whom whose
		why will with would you your tell find show give please
		al algo algun alguna alguno algunos ante antes aquel aquella aquello asi aun aunque bajo bien cada como con contra
		cual cuales cuando cuanto cuanta cuantos cuantas de del desde donde dos el ella ellas ello ellos en entre era eran eres es esa
		esas ese eso esos esta estaba estado estan estas este esto estos fue fueron ha habia han hasta hay la las le les lo
		los mas me mi mis mucho muy nada ni no nos nosotros o os otra otro otros para pero poco por porque que quien
		quienes se sea segun ser si sin sobre solo son soy su sus tal tambien tan te ti tiene tienen toda todo todos tu
		tus un una uno unos unas usted ustedes y ya yo dime busca muestra cuentame favor`
	set := map[uint64]bool{}
	words(list, func(hash uint64, _ bool) { set[hash] = true })
	return set
}()
