package main

import "tamv.internal/tamv/tap"

// The texts of the verbs about the cluster.
var (
	textCluster            = tap.Text{EN: "See and change which nodes the site has.", ES: "Consulta y cambia qué nodos tiene el sitio."}
	textClusterStatus      = tap.Text{EN: "Show every node: role, lag, ledger, clock, disk and what does not hold.", ES: "Muestra cada nodo: función, retraso, registro, reloj, disco y lo que no se cumple."}
	textClusterInvite      = tap.Text{EN: "Invite a machine; prints the token that it joins with, once.", ES: "Invita a una máquina; muestra una sola vez el código con el que se une."}
	textClusterInvitations = tap.Text{EN: "List the invitations that have not expired.", ES: "Lista las invitaciones que no han caducado."}
	textClusterWithdraw    = tap.Text{EN: "Withdraw an invitation.", ES: "Retira una invitación."}
	textClusterRemove      = tap.Text{EN: "Remove a node for good.", ES: "Retira un nodo para siempre."}
	textClusterPromote     = tap.Text{EN: "Let an observer vote.", ES: "Da voto a un observador."}
	textClusterTransfer    = tap.Text{EN: "Hand the leadership to a node, or to the fittest.", ES: "Cede el liderazgo a un nodo, o al más apto."}

	textFlagExpires  = tap.Text{EN: "how long the invitation is good for, 1m to 24h", ES: "cuánto vale la invitación, de 1m a 24h"}
	textFlagObserver = tap.Text{EN: "the machine keeps a copy and does not vote", ES: "la máquina guarda una copia y no vota"}
	textFlagNode     = tap.Text{EN: "only for a machine that joins under this name", ES: "solo para una máquina que se una con este nombre"}
	textFlagForce    = tap.Text{EN: "although too few of the other voters answer", ES: "aunque respondan muy pocos de los demás votantes"}

	textClusterAnswer    = tap.Text{EN: "voters that answer", ES: "votantes que responden"}
	textClusterApplied   = tap.Text{EN: "applied", ES: "aplicadas"}
	textClusterBy        = tap.Text{EN: "by", ES: "de"}
	textClusterClock     = tap.Text{EN: "clock", ES: "reloj"}
	textClusterDisk      = tap.Text{EN: "disk free", ES: "disco libre"}
	textClusterExpires   = tap.Text{EN: "expires", ES: "caduca"}
	textClusterFormer    = tap.Text{EN: "former leader", ES: "líder anterior"}
	textClusterLag       = tap.Text{EN: "lag", ES: "retraso"}
	textClusterLeader    = tap.Text{EN: "leader", ES: "líder"}
	textClusterLow       = tap.Text{EN: "(low)", ES: "(poco)"}
	textClusterObserver  = tap.Text{EN: "observer", ES: "observador"}
	textClusterQuorum    = tap.Text{EN: "voters needed", ES: "votantes necesarios"}
	textClusterReachable = tap.Text{EN: "answers", ES: "responde"}
	textClusterRemoved   = tap.Text{EN: "removed", ES: "retirado"}
	textClusterRole      = tap.Text{EN: "role", ES: "función"}
	textClusterUnmet     = tap.Text{EN: "does not hold", ES: "no se cumple"}
	textClusterUsedBy    = tap.Text{EN: "used by", ES: "usada por"}
	textClusterVoters    = tap.Text{EN: "voters", ES: "votantes"}

	textClusterNext  = tap.Text{EN: "On the machine that shall join, within that time (--data, --listen as needed):", ES: "En la máquina que se unirá, dentro de ese plazo (con --data y --listen según haga falta):"}
	textClusterPaste = tap.Text{EN: "and give it this, which is a secret, on its standard input:", ES: "y dele esto, que es secreto, por la entrada estándar:"}
)
