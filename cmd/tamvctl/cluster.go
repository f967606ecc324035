package main

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) clusterCommand() *cobra.Command {
	return a.group("cluster", textCluster,
		a.clusterStatus(), a.clusterInvite(), a.clusterInvitations(), a.clusterWithdraw(),
		a.clusterRemove(), a.clusterPromote(), a.clusterTransfer())
}

// clusterState is the site as one of its nodes sees it.
type clusterState struct {
	Node   string        `json:"node"`
	Leader string        `json:"leader"`
	Voters int           `json:"voters"`
	Quorum int           `json:"quorum"`
	Answer int           `json:"answer"`
	Nodes  []clusterNode `json:"nodes"`
}

type clusterNode struct {
	ID        string `json:"id"`
	Address   string `json:"address"`
	Role      string `json:"role"`
	Reachable bool   `json:"reachable"`
	Applied   uint64 `json:"applied"`
	Lag       uint64 `json:"lag"`
	Release   string `json:"release"`
	Ledger    *struct {
		Size uint64 `json:"size"`
		Root string `json:"root"`
	} `json:"ledger"`
	ClockOffsetMicros int64 `json:"clockOffsetMicros"`
	Disk              *struct {
		Free uint64 `json:"free"`
		Low  bool   `json:"low"`
	} `json:"disk"`
	Conditions []condition `json:"conditions"`
}

func (a *app) clusterStatus() *cobra.Command {
	return a.verb("status", textClusterStatus, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: "/v1/cluster"}, func(t *table, v clusterState) {
			t.field(textClusterLeader, v.Leader)
			t.field(textClusterVoters, strconv.Itoa(v.Voters))
			t.field(textClusterQuorum, strconv.Itoa(v.Quorum))
			t.field(textClusterAnswer, strconv.Itoa(v.Answer))
			t.line("")
			t.head(textNode, textClusterRole, textClusterReachable, textClusterLag, textClusterApplied,
				textLedgerSize, textMerkleRoot, textRelease, textClusterClock, textClusterDisk, textAddress)
			for _, n := range v.Nodes {
				n.draw(t)
			}
			drawUnmet(t, v.Nodes)
		})
	})
}

// rootShown is how many characters of a Merkle root a row has room for; -o json
// has them all.
const rootShown = 12

// draw shows a node that never answered with nothing but its name and place.
func (n *clusterNode) draw(t *table) {
	var lag, applied, size, root, clock, free string
	if n.Ledger != nil {
		lag, applied = strconv.FormatUint(n.Lag, 10), strconv.FormatUint(n.Applied, 10)
		size, root = strconv.FormatUint(n.Ledger.Size, 10), n.Ledger.Root
		clock = (time.Duration(n.ClockOffsetMicros) * time.Microsecond).Round(time.Millisecond).String()
	}
	if len(root) > rootShown {
		root = root[:rootShown]
	}
	if n.Disk != nil {
		if free = gibibytes(n.Disk.Free); n.Disk.Low {
			free += " " + textClusterLow.In(t.lang)
		}
	}
	t.row(n.ID, n.Role, yesNo(t, n.Reachable), lag, applied, size, root, n.Release, clock, free, n.Address)
}

func gibibytes(n uint64) string {
	return strconv.FormatFloat(float64(n)/(1<<30), 'f', 1, 64) + " GiB"
}

// drawUnmet lists what does not hold, node by node.
func drawUnmet(t *table, nodes []clusterNode) {
	headed := false
	for _, n := range nodes {
		for _, c := range n.Conditions {
			if c.OK {
				continue
			}
			if !headed {
				t.line("")
				t.head(textNode, textClusterUnmet, textMessage)
				headed = true
			}
			t.row(n.ID, c.Name, c.Message)
		}
	}
}

// invitation is the right of a machine to join.
type invitation struct {
	ID       string   `json:"id"`
	Token    string   `json:"token"`
	State    string   `json:"state"`
	Expires  string   `json:"expires"`
	Observer bool     `json:"observer"`
	Node     string   `json:"node"`
	By       string   `json:"by"`
	UsedBy   string   `json:"usedBy"`
	Receipt  *receipt `json:"receipt"`
}

func (a *app) clusterInvite() *cobra.Command {
	var expires time.Duration
	var observer bool
	var node string
	c := a.verb("invite [flags]", textClusterInvite, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		body := map[string]any{"expiresSeconds": int64(expires / time.Second), "observer": observer}
		if node != "" {
			body["node"] = node
		}
		return show(ctx, a, ask{method: "POST", path: "/v1/cluster/invitations", body: body}, func(t *table, v invitation) {
			t.field(textIntentID, v.ID)
			t.field(textClusterExpires, v.Expires)
			t.field(textClusterObserver, yesNo(t, v.Observer))
			t.field(textNode, v.Node)
			v.Receipt.draw(t)
			t.line("")
			t.line(textClusterNext.In(t.lang))
			t.line("  " + strings.TrimSpace("tamvd join - "+joinFlags(v.Node)))
			t.line(textClusterPaste.In(t.lang))
			t.line("  " + v.Token)
		})
	})
	c.Flags().DurationVar(&expires, "expires", time.Hour, textFlagExpires.In(a.lang))
	c.Flags().BoolVar(&observer, "observer", false, textFlagObserver.In(a.lang))
	c.Flags().StringVar(&node, "node", "", textFlagNode.In(a.lang))
	return c
}

// joinFlags names the node that an invitation is for.
func joinFlags(node string) string {
	if node == "" {
		return ""
	}
	return "--node " + node
}

func (a *app) clusterInvitations() *cobra.Command {
	return a.verb("invitations", textClusterInvitations, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		return show(ctx, a, ask{path: "/v1/cluster/invitations"}, func(t *table, v struct {
			Invitations []invitation `json:"invitations"`
		},
		) {
			t.head(textIntentID, textState, textClusterExpires, textClusterObserver, textNode, textClusterBy, textClusterUsedBy)
			for _, i := range v.Invitations {
				t.row(i.ID, i.State, i.Expires, yesNo(t, i.Observer), i.Node, i.By, i.UsedBy)
			}
		})
	})
}

// memberChange is the answer to a change of one node or invitation.
type memberChange struct {
	ID      string   `json:"id"`
	Removed string   `json:"removed"`
	From    string   `json:"from"`
	Leader  string   `json:"leader"`
	Receipt *receipt `json:"receipt"`
}

func (a *app) changeMember(ctx context.Context, method, path string, query url.Values, body any) error {
	return show(ctx, a, ask{method: method, path: path, query: query, body: body}, func(t *table, v memberChange) {
		t.field(textIntentID, v.ID)
		t.field(textClusterRemoved, v.Removed)
		t.field(textClusterFormer, v.From)
		t.field(textClusterLeader, v.Leader)
		v.Receipt.draw(t)
	})
}

func memberPath(id string) string { return "/v1/cluster/members/" + url.PathEscape(id) }

func (a *app) clusterWithdraw() *cobra.Command {
	return a.verb("withdraw INVITATION", textClusterWithdraw, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return a.changeMember(ctx, "DELETE", "/v1/cluster/invitations/"+url.PathEscape(args[0]), nil, nil)
	})
}

func (a *app) clusterRemove() *cobra.Command {
	var force bool
	c := a.verb("remove NODE [flags]", textClusterRemove, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		query := url.Values{}
		if force {
			query.Set("force", "true")
		}
		return a.changeMember(ctx, "DELETE", memberPath(args[0]), query, nil)
	})
	c.Flags().BoolVar(&force, "force", false, textFlagForce.In(a.lang))
	return c
}

func (a *app) clusterPromote() *cobra.Command {
	return a.verb("promote NODE", textClusterPromote, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		return a.changeMember(ctx, "POST", memberPath(args[0])+"/promote", nil, nil)
	})
}

func (a *app) clusterTransfer() *cobra.Command {
	return a.verb("transfer [NODE]", textClusterTransfer, cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
		body := map[string]string{}
		if len(args) > 0 {
			body["to"] = args[0]
		}
		return a.changeMember(ctx, "POST", "/v1/cluster/transfer", nil, body)
	})
}
