package isabella

// lexicon is the word families that rules and plan speak of, English and Spanish
// together, folded to lower case without accents. '*' stands for any ending; it
// is left out where it would catch another word ("alter*" catches "alternative",
// "hij*" is fine, "nin*" catches "ninguno").
var lexicon = newDictionary(map[string]string{
	// What turns a deed into a question about the deed.
	"prevent": `prevent* avoid* stop stops stopping detect* protect* report* recogni* resist* defend* against block blocks
		recover* refuse refuses impossible verify verifies illegal legal wrong forbid* denounc* warn*
		evit* imped* impid* deten* prevenir previene proteg* protej* denunci* reconoc* defend* contra recuper* verific*
		ilegal prohib* advert* imposible`,
	"neutral": `anyone anybody someone somebody who whoever nobody never possible happens happen why history law
		alguien quien quienes nadie nunca posible pasa ocurre sucede historia ley`,
	"victim": `being been was were am got siendo sido fui fue estan estaban sufro sufri`,
	"query":  `how what which where when why who can does como que cual cuales donde cuando puedo puede quien`,

	// People.
	"person": `person persons people visitor* wife husband partner girlfriend boyfriend neighbor* neighbour* employee* worker*
		child children daughter* son sons user users citizen* student* classmate* colleague* coworker* boss her him them
		somebody someone everyone everybody man men woman women ex mother father mum mom dad family families kid kids patient*
		tenant customer* client clients teacher* guest guests
		persona personas gente visitante* esposa esposo marido mujer mujeres hombre hombres pareja novia novio vecin* emplead*
		trabajador* hijo hija hijos hijas nino nina ninos ninas usuari* ciudadan* estudiante* alumn* colega* jefe jefa companer*
		alguien ella ellos ellas madre padre mama papa familia familias paciente* cliente* profesor* invitad* abuel*`,
	"authority": `guardian guardians operator police policeman official officer bank government judge ministry inspector auditor
		curator administrator guardiana operador operadora policia banco gobierno juez jueza funcionari* ministerio inspectora
		auditora curador administrador`,
	"protected": `race races racial religion* religious muslim* jew jews jewish christian* catholic* gay gays lesbian* trans
		transgender women immigrant* migrant* refugee* disabled disability disabilities elderly indigenous foreigner* ethnic*
		ethnicity roma gypsy gypsies blacks pregnant
		raza razas raciales religion religiones musulman* judio judia judios judias cristian* catolic* lesbiana* mujeres
		inmigrante* migrante* refugiad* discapacidad discapacitad* ancian* indigena* extranjer* etnia* etnic* gitan*
		embarazad* homosexual*`,

	// Records.
	"alter": `delete deletes deleting deleted erase erasing wipe wiping purge purging shred shredding destroy destroying remove
		removing hide hiding conceal* backdate* backdating falsif* forge forging tamper* alter altering rewrite rewriting suppress*
		borra borrar borre borren borro borrando borrarla borrarlo elimin* destru* ocult* esconde esconder antedat* falsific*
		manipul* alterar altera altere suprim* reescrib*`,
	"evidence": `evidence ledger bookpi audit audits auditing trail evidencia* auditoria* bitacora*`,
	"without":  `without sin`,
	"trace":    `trace traces trail rastro rastros huella huellas untraceable`,

	// Deception.
	"deceive": `deceive deceiving deceiv* trick tricks tricking mislead* defraud* scam scamming swindl* phish* dupe
		engan* estafa estafar estafo estafe timar defraud*`,
	"impersonate": `impersonat* suplant* pretend pretending pose posing hacerme hacerse hacernos pasarme`,
	"fake":        `fake fakes faking fabricat* bogus counterfeit* falso falsa falsos falsas`,
	"testimony": `news review reviews testimonial* certificate* diploma* document documents invoice* receipt receipts passport*
		noticia* resena* testimoni* certificado* documento documentos factura facturas recibo recibos pasaporte*`,

	// Other people's will.
	"spy": `spy spying spies stalk stalking wiretap* eavesdrop* espiar espia espie espiando acechar acosar`,
	"track": `track tracking monitor monitoring follow following surveil* record recording film filming photograph* locate
		locating listen listening read reading rastre* seguir siga seguirle vigil* monitore* grabar grabe graba grabando localiz*
		escuchar escucha fotografi* leer sigue`,
	"covert": `secretly covertly secret unknowingly unnoticed secretamente escondidas secreto`,
	"consent": `consent* permission* permiso* autorizacion* authoriz* authoris* knowing knowledge know knows asking ask asked
		approval agreement telling noticing consiente consentir consienta sepa sepan saber pregunt* pedir* avis* conocimiento
		aprobacion acuerdo decirle decirles enter*`,
	"act": `sign signing vote voting decide transfer transferring pay paying send sending enrol enroll enrolling register
		registering accept accepting book booking buy buying post publish publishing share sharing
		firmar firma firme votar vote transferir transfiere pagar paga enviar envia inscribir registrar registra aceptar acepta
		reservar comprar compra publicar publica compartir comparte`,
	"coerce": `blackmail* extort* coerc* threaten* intimidat* chantaj* extorsion* coaccion* amenaz* intimid*`,
	"humiliate": `humiliat* degrade degrading ridicul* mock mocking bully bullying insult* torment* harass* demean*
		humill* ridiculi* insult* atorment* acosar acosa hostig* burlarme burlarnos denigr*`,

	// Decisions about people.
	"decide": `decide decides decid deny denies reject rejects revoke cancel evict fire dismiss deport sentence cut approve
		decida decidir decide deniega denegar niega negar niegue rechaza rechazar cancela cancelar desaloja desalojar despide
		despedir deporta deportar expulsa expulsar aprueba aprobar`,
	"entitlement": `benefit benefits pension pensions welfare asylum housing eviction parole custody scholarship* visa visas
		citizenship entitlement* unemployment allowance* subsid* medicare medicaid
		pensiones asilo vivienda viviendas subsidio* prestacion* beca becas ayudas custodia ciudadania derechos
		residencia libertad`,
	"exclude": `exclude excluding ban banning deny denying refuse refusing reject rejecting block blocking expel expelling prohibit
		discriminat* segregat* excluir excluye excluya prohibir prohibe prohiba niega negar rechaza rechazar expulsa
		expulsar discrimin* segreg* bloquea bloquear veta vetar`,
	"rank": `rank ranking score scoring sort sorting select selecting prioriti* filter filtering classif* profile profiling
		clasific* ordena ordenar filtra filtrar prioriza priorizar puntua puntuar perfila perfilar selecciona seleccionar`,

	// Harm.
	"kill": `kill killing murder* stab stabbing strangle poison poisoning shoot hurt hurting attack attacking assault* torture*
		matar mate matarlo matarla asesin* apunal* estrangul* envenen* disparar herir atacar ataque agredir tortura torturar`,
	"place": `school* church* mosque* synagogue* hospital* crowd* mall market concert* airport* escuela* iglesia* mezquita*
		sinagoga* multitud mercado concierto* aeropuerto* colegio*`,
	"weapon": `bomb bombs explosive* molotov grenade* sarin ricin landmine* bomba bombas explosivo* granada*
		ricina minas`,
	"make": `make making build building assemble assembling construct* prepare synthes* fabricar fabrico fabrica fabricacion
		hacer hago construir construyo preparar preparo armar sintetiz*`,
	"technical": `process processes thread threads daemon program server task tasks query queries session job bug weeds bacteria
		germs virus viruses agua calor infantil proceso procesos hilo hilos tarea tareas programa servidor consulta sesion
		hierbas bacterias gas aire joke jokes time tiempo`,
	"intrude": `hack hacking steal stealing crack cracking hijack* robar robo roba hackear hackeo jaquear crackear secuestrar`,
	"asset": `account accounts password passwords identity identities card cards wallet* credential* token tokens
		cuenta cuentas contrasena* clave claves identidad* tarjeta* credencial* monedero* cartera`,

	// Health.
	"quit": `stop stopping quit quitting skip skipping dejar dejo suspender suspendo saltarme`,
	"medicine": `insulin medication* medicine medicines chemotherapy antidepressant* anticoagulant* pills insulina medicacion
		medicamento* medicina medicinas quimioterapia antidepresivo* anticoagulante* pastillas`,
	"health": `hiv diagnos* pregnan* depression cancer disorder therapy vih sida diagnostic* embaraz* depresion trastorno
		terapia`,

	// What the plan listens for.
	"move": `create move place put rotate remove build add crea crear mueve mover coloca colocar pon poner gira girar quita
		quitar anade anadir`,
	"object": `object objects cube cubes chair chairs table tables sphere lamp statue avatar screen objeto objetos cubo cubos
		silla sillas mesa mesas esfera lampara estatua pantalla`,
	"quiz":   `quiz quizzes flashcard* exam exams cuestionario* examen examenes`,
	"digest": `digiti* digitali* ocr escanea escanear scan transcribe transcribir`,
	"paper":  `manuscript* handwrit* notebook page pages scan pdf manuscrito* cuaderno pagina paginas apuntes`,
})
