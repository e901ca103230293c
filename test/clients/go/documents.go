package main

import (
	"errors"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

const unknown = "99999999-9999-4999-8999-999999999999"

func agentSelf(w *world) error {
	self, err := w.client.Agent().Self()
	if err != nil {
		return err
	}
	if err := want("a name", self.Member.Name != "", self.Member); err != nil {
		return err
	}
	health, err := w.client.Agent().Health()
	if err != nil {
		return err
	}
	members, err := w.client.Agent().Members()
	if err != nil {
		return err
	}
	w.see(self, health, members)
	return want("a healthy server", health.Server != nil && health.Server.Ok, health)
}

func tokenSelf(w *world) error {
	token, _, err := w.client.ACLTokens().Self(nil)
	if err != nil {
		return err
	}
	w.see(token)
	return want("the secret that was sent", token.SecretID != "" && token.AccessorID != "", token.Name)
}

func nodes(w *world) error {
	list, meta, err := w.client.Nodes().List(nil)
	if err != nil {
		return err
	}
	var own *api.NodeListStub
	for _, stub := range list {
		if stub.ID == w.Node {
			own = stub
		}
	}
	if err := want("the node and an index", own != nil && meta.LastIndex > 0, len(list)); err != nil {
		return err
	}
	node, _, err := w.client.Nodes().Info(w.Node, nil)
	if err != nil {
		return err
	}
	_, _, missing := w.client.Nodes().Info(unknown, nil)
	w.see(list, node, missing)
	if err := want("ready", node.Status == "ready", node.Status); err != nil {
		return err
	}
	return want("404 for a node that is not there", missing != nil && strings.Contains(missing.Error(), "404 (node not found)"), missing)
}

func nodeMeta(w *world) error {
	value := "sdk"
	meta := w.client.Nodes().Meta()
	applied, err := meta.Apply(&api.NodeMetaApplyRequest{NodeID: w.Node, Meta: map[string]*string{"via": &value}}, nil)
	if err != nil {
		return err
	}
	read, err := meta.Read(w.Node, nil)
	if err != nil {
		return err
	}
	w.see(applied, read)
	if err := want("what was set", applied.Meta["via"] == "sdk" && read.Dynamic["via"] != nil && *read.Dynamic["via"] == "sdk", read.Dynamic); err != nil {
		return err
	}
	if _, err := meta.Apply(&api.NodeMetaApplyRequest{NodeID: w.Node, Meta: map[string]*string{"via": nil}}, nil); err != nil {
		return err
	}
	after, err := meta.Read(w.Node, nil)
	if err != nil {
		return err
	}
	w.see(after)
	_, there := after.Meta["via"]
	return want("what was unset is gone", !there, after.Meta)
}

func nodeStats(w *world) error {
	stats, err := w.client.Nodes().Stats(w.Node, nil)
	if err != nil {
		return err
	}
	w.see(stats)
	return want("memory, processors and uptime", stats.Memory.Total > 0 && len(stats.CPU) > 0 && stats.Uptime > 0, stats)
}

func nodeAllocations(w *world) error {
	list, _, err := w.client.Nodes().Allocations(w.Node, nil)
	if err != nil {
		return err
	}
	for _, alloc := range list {
		if alloc.ID == w.Talker.Alloc {
			w.see(alloc)
			return want("its job", alloc.Job != nil && *alloc.Job.ID == w.Talker.Job, alloc.Job)
		}
	}
	return want("the allocation that talks", false, len(list))
}

func allocations(w *world) error {
	list, meta, err := w.client.Allocations().List(&api.QueryOptions{Namespace: "*", Filter: `JobID == "` + w.Talker.Job + `" and ClientStatus == "running"`})
	if err != nil {
		return err
	}
	if err := want("one by a filter, and an index", len(list) == 1 && list[0].ID == w.Talker.Alloc && meta.LastIndex > 0, list); err != nil {
		return err
	}
	alloc, _, err := w.client.Allocations().Info(w.Talker.Alloc, nil)
	if err != nil {
		return err
	}
	own, _, err := w.client.Allocations().PrefixList(w.Talker.Alloc[:8])
	if err != nil {
		return err
	}
	_, _, missing := w.client.Allocations().Info(unknown, nil)
	w.see(list, alloc, own, missing)
	if err := want("404 for one that is not there", missing != nil && strings.Contains(missing.Error(), "404"), missing); err != nil {
		return err
	}
	return want("one by its prefix", len(own) == 1, len(own))
}

func blocking(w *world) error {
	alloc, meta, err := w.client.Allocations().Info(w.Done.Alloc, nil)
	if err != nil {
		return err
	}
	if err := want("complete", alloc.ClientStatus == "complete", alloc.ClientStatus); err != nil {
		return err
	}
	began := time.Now()
	again, after, err := w.client.Allocations().Info(alloc.ID, &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: 300 * time.Millisecond})
	if err != nil {
		return err
	}
	w.see(alloc, again)
	if err := want("it waits when nothing changes", time.Since(began) >= 300*time.Millisecond, time.Since(began)); err != nil {
		return err
	}
	return want("the same index", after.LastIndex == meta.LastIndex, after.LastIndex)
}

func services(w *world) error {
	found, _, err := w.client.Allocations().Services(w.Files.Alloc, nil)
	if err != nil {
		return err
	}
	w.see(found)
	if w.Service == "" {
		results, err := w.client.Allocations().Checks(w.Files.Alloc, nil)
		w.see(results)
		return err
	}
	if err := want("the service", len(found) == 1 && found[0].ServiceName == w.Service && found[0].Port > 0, found); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		results, err := w.client.Allocations().Checks(w.Files.Alloc, nil)
		if err != nil {
			return err
		}
		passed := 0
		for _, result := range results {
			if result.Status == "success" {
				passed++
			}
		}
		if passed == 2 {
			return nil
		}
	}
	return errors.New("the checks do not pass")
}

func search(w *world) error {
	allocs, _, err := w.client.Search().PrefixSearch(w.Talker.Alloc[:8], "allocs", nil)
	if err != nil {
		return err
	}
	nodes, _, err := w.client.Search().PrefixSearch(w.Node[:8], "nodes", nil)
	if err != nil {
		return err
	}
	w.see(allocs, nodes)
	return want("the allocation and the node", len(allocs.Matches["allocs"]) == 1 && len(nodes.Matches["nodes"]) == 1, []any{allocs.Matches, nodes.Matches})
}

func jobs(w *world) error {
	list, _, err := w.client.Jobs().List(&api.QueryOptions{Namespace: "*", Filter: `ID == "` + w.Talker.Job + `"`})
	if err != nil {
		return err
	}
	job, _, err := w.client.Jobs().Info(w.Talker.Job, nil)
	if err != nil {
		return err
	}
	own, _, err := w.client.Jobs().Allocations(w.Talker.Job, true, nil)
	if err != nil {
		return err
	}
	evaluations, _, err := w.client.Jobs().Evaluations(w.Talker.Job, nil)
	if err != nil {
		return err
	}
	_, _, missing := w.client.Jobs().Info("no-such-job", nil)
	w.see(list, job, own, len(evaluations) > 0, missing)
	if err := want("one, its group and a refusal", len(list) == 1 && *job.TaskGroups[0].Name == w.Talker.Group && missing != nil, list); err != nil {
		return err
	}
	return want("its allocation", len(own) == 1 && own[0].ID == w.Talker.Alloc, own)
}

func badToken(w *world) error {
	config := api.DefaultConfig()
	config.SecretID = unknown
	client, err := api.NewClient(config)
	if err != nil {
		return err
	}
	_, _, info := client.Allocations().Info(w.Talker.Alloc, nil)
	_, listed := client.AllocFS().Cat(&api.Allocation{ID: w.Files.Alloc, NodeID: w.Node}, w.Files.Path, nil)
	w.see(info)
	if err := want("the document is refused", info != nil && strings.Contains(info.Error(), "403 (Permission denied)"), info); err != nil {
		return err
	}
	if w.Cluster {
		return want("the file is refused, as Nomad words it", listed == nil || strings.Contains(listed.Error(), "ermission denied") || strings.Contains(listed.Error(), "token"), listed)
	}
	return want("403 Permission denied", listed != nil && strings.Contains(listed.Error(), "403 (Permission denied)"), listed)
}
