// The official Go SDK against a running gateway: every call a program makes, with what it must give. Prints one line a
// check and exits 1 when one fails. NOMAD_ADDR and NOMAD_TOKEN are read as the SDK reads them.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

const patience = 20 * time.Second

type check struct {
	name string
	run  func(*world) error
}

type world struct {
	client *api.Client
	node   *api.NodeListStub
	allocs map[string]*api.Allocation
	index  uint64
}

var checks = []check{
	{"agent self", agentSelf},
	{"nodes list and info", nodes},
	{"node metadata apply and read", nodeMeta},
	{"node stats", nodeStats},
	{"node allocations", nodeAllocations},
	{"allocations list", allocations},
	{"allocation info, blocking", blocking},
	{"fs list", fsList},
	{"fs stat", fsStat},
	{"fs cat", fsCat},
	{"fs readat", fsReadAt},
	{"fs stream", fsStream},
	{"fs cat of what is not there", fsMissing},
	{"a large file, to the byte", fsLarge},
	{"logs", logs},
	{"logs followed, and let go", logsFollow},
	{"exec without terminal, with stdin", execPlain},
	{"exec with terminal and size", execTerminal},
	{"exec in a task that is not there", execMissing},
	{"allocation stats", allocStats},
	{"services and checks", services},
	{"search", search},
	{"jobs list and info", jobs},
	{"signal", signal},
	{"restart", restart},
	{"stop and its evaluation", stop},
	{"collect an allocation, and a node", collect},
	{"a token that is none", badToken},
}

func main() {
	client, err := api.NewClient(api.DefaultConfig())
	if err != nil {
		fmt.Println("no client:", err)
		os.Exit(1)
	}
	w := &world{client: client, allocs: map[string]*api.Allocation{}}
	failed := 0
	for _, c := range checks {
		began := time.Now()
		if err := c.run(w); err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", c.name, err)
			continue
		}
		fmt.Printf("ok   %s (%d ms)\n", c.name, time.Since(began).Milliseconds())
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func want(what string, is bool, seen any) error {
	if is {
		return nil
	}
	return fmt.Errorf("%s: saw %v", what, seen)
}

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
	return want("a healthy server", health.Server != nil && health.Server.Ok, health)
}

func nodes(w *world) error {
	list, meta, err := w.client.Nodes().List(nil)
	if err != nil {
		return err
	}
	if err := want("two nodes and an index", len(list) == 2 && meta.LastIndex > 0, len(list)); err != nil {
		return err
	}
	for _, stub := range list {
		node, _, err := w.client.Nodes().Info(stub.ID, nil)
		if err != nil {
			return err
		}
		if err := want("ready, with the gateway's address", node.Status == "ready" && "http://"+node.HTTPAddr == w.client.Address(), node.HTTPAddr); err != nil {
			return err
		}
		if stub.Name == "dev-agent-1" {
			w.node = stub
		}
	}
	_, _, err = w.client.Nodes().Info("00000000-0000-4000-8000-000000000000", nil)
	return want("404 for a node that is not there", err != nil && strings.Contains(err.Error(), "404 (node not found)"), err)
}

func nodeMeta(w *world) error {
	value := "sdk"
	applied, err := w.client.Nodes().Meta().Apply(&api.NodeMetaApplyRequest{NodeID: w.node.ID, Meta: map[string]*string{"via": &value}}, nil)
	if err != nil {
		return err
	}
	if err := want("the merged view", applied.Meta["via"] == "sdk" && applied.Meta["rack"] == "r1", applied.Meta); err != nil {
		return err
	}
	read, err := w.client.Nodes().Meta().Read(w.node.ID, nil)
	if err != nil {
		return err
	}
	if err := want("what was set", read.Dynamic["via"] != nil && *read.Dynamic["via"] == "sdk", read.Dynamic); err != nil {
		return err
	}
	_, err = w.client.Nodes().Meta().Apply(&api.NodeMetaApplyRequest{NodeID: w.node.ID, Meta: map[string]*string{"via": nil}}, nil)
	if err != nil {
		return err
	}
	read, err = w.client.Nodes().Meta().Read(w.node.ID, nil)
	if err != nil {
		return err
	}
	_, there := read.Meta["via"]
	return want("what was unset is gone", !there, read.Meta)
}

func nodeStats(w *world) error {
	stats, err := w.client.Nodes().Stats(w.node.ID, nil)
	if err != nil {
		return err
	}
	return want("memory, processors and uptime", stats.Memory.Total > 0 && len(stats.CPU) > 0 && stats.Uptime > 0, stats)
}

func nodeAllocations(w *world) error {
	list, _, err := w.client.Nodes().Allocations(w.node.ID, nil)
	if err != nil {
		return err
	}
	return want("two, each with its job", len(list) == 2 && list[0].Job != nil, len(list))
}

func allocations(w *world) error {
	list, meta, err := w.client.Allocations().List(&api.QueryOptions{Namespace: "*"})
	if err != nil {
		return err
	}
	w.index = meta.LastIndex
	for _, stub := range list {
		alloc, _, err := w.client.Allocations().Info(stub.ID, &api.QueryOptions{Namespace: stub.Namespace})
		if err != nil {
			return err
		}
		w.allocs[stub.JobID] = alloc
	}
	for _, job := range []string{"web", "chatter", "report", "ledger"} {
		if w.allocs[job] == nil {
			return fmt.Errorf("no allocation of %s", job)
		}
	}
	own, _, err := w.client.Allocations().PrefixList(w.allocs["web"].ID[:8])
	if err != nil {
		return err
	}
	if err := want("one by its prefix", len(own) == 1, len(own)); err != nil {
		return err
	}
	filtered, _, err := w.client.Allocations().List(&api.QueryOptions{Filter: `JobID == "web" and ClientStatus == "running"`})
	if err != nil {
		return err
	}
	return want("one by a filter", len(filtered) == 1, len(filtered))
}

func blocking(w *world) error {
	alloc, meta, err := w.client.Allocations().Info(w.allocs["report"].ID, nil)
	if err != nil {
		return err
	}
	if err := want("complete", alloc.ClientStatus == "complete", alloc.ClientStatus); err != nil {
		return err
	}
	began := time.Now()
	_, after, err := w.client.Allocations().Info(alloc.ID, &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: 300 * time.Millisecond})
	if err != nil {
		return err
	}
	if err := want("it waits when nothing changes", time.Since(began) >= 300*time.Millisecond, time.Since(began)); err != nil {
		return err
	}
	return want("the same index", after.LastIndex == meta.LastIndex, after.LastIndex)
}

func fsList(w *world) error {
	files, _, err := w.client.AllocFS().List(w.allocs["web"], "alloc/data", nil)
	if err != nil {
		return err
	}
	for _, file := range files {
		if file.Name == "awkward name & 100%.txt" && !file.IsDir {
			return nil
		}
	}
	return fmt.Errorf("the awkward name is not among %d files", len(files))
}

func fsStat(w *world) error {
	file, _, err := w.client.AllocFS().Stat(w.allocs["web"], "alloc/data/hello.txt", nil)
	if err != nil {
		return err
	}
	return want("18 bytes of text", file.Size == 18 && strings.HasPrefix(file.ContentType, "text/plain"), file)
}

func readAll(body io.ReadCloser, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	return string(content), err
}

func fsCat(w *world) error {
	for path, content := range map[string]string{
		"alloc/data/hello.txt":               "Hello from serai.\n",
		"alloc/data/empty.txt":               "",
		"alloc/data/дорога.txt":              "a name in another script\n",
		"alloc/data/awkward name & 100%.txt": "a name with blanks, an ampersand and a percent sign\n",
		"alloc/data/link.txt":                "Hello from serai.\n",
	} {
		seen, err := readAll(w.client.AllocFS().Cat(w.allocs["web"], path, nil))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if seen != content {
			return fmt.Errorf("%s: saw %q", path, seen)
		}
	}
	return nil
}

func fsReadAt(w *world) error {
	seen, err := readAll(w.client.AllocFS().ReadAt(w.allocs["web"], "alloc/data/hello.txt", 6, 4, nil))
	if err != nil {
		return err
	}
	return want("four bytes from the sixth", seen == "from", seen)
}

func fsLarge(w *world) error {
	body, err := w.client.AllocFS().Cat(w.allocs["web"], "alloc/data/big.bin", nil)
	if err != nil {
		return err
	}
	defer body.Close()
	size, err := io.Copy(io.Discard, body)
	if err != nil {
		return err
	}
	return want("64 MiB", size == 64<<20, size)
}

func fsStream(w *world) error {
	cancel := make(chan struct{})
	defer close(cancel)
	frames, failed := w.client.AllocFS().Stream(w.allocs["web"], "alloc/data/hello.txt", "start", 0, cancel, nil)
	select {
	case frame := <-frames:
		return want("the file's content and name", string(frame.Data) == "Hello from serai.\n" && frame.File == "alloc/data/hello.txt", frame)
	case err := <-failed:
		return err
	case <-time.After(patience):
		return errors.New("no frame came")
	}
}

func fsMissing(w *world) error {
	_, err := readAll(w.client.AllocFS().Cat(w.allocs["web"], "alloc/nope", nil))
	return want("an error with Nomad's words", err != nil && strings.Contains(err.Error(), "no such file or directory"), err)
}

func collectLogs(w *world, job, task, kind string, follow bool, until func(string) bool) (string, error) {
	cancel := make(chan struct{})
	defer close(cancel)
	frames, failed := w.client.AllocFS().Logs(w.allocs[job], follow, task, kind, "start", 0, cancel, nil)
	var text strings.Builder
	timeout := time.After(patience)
	for {
		select {
		case frame, open := <-frames:
			if !open {
				return text.String(), nil
			}
			text.Write(frame.Data)
			if until(text.String()) {
				return text.String(), nil
			}
		case err := <-failed:
			return text.String(), err
		case <-timeout:
			return text.String(), errors.New("the logs did not end in time")
		}
	}
}

func never(string) bool { return false }

func logs(w *world) error {
	stdout, err := collectLogs(w, "report", "print", "stdout", false, never)
	if err != nil {
		return err
	}
	stderr, err := collectLogs(w, "report", "print", "stderr", false, never)
	if err != nil {
		return err
	}
	return want("both streams", stdout == "the report is done\n" && stderr == "nothing to worry about\n", stdout+stderr)
}

func logsFollow(w *world) error {
	_, err := collectLogs(w, "chatter", "talk", "stdout", true, func(text string) bool {
		return strings.Contains(text, "talk: line 1\n") && strings.Contains(text, "talk: line 3\n")
	})
	return err
}

func exec(w *world, job, task string, tty bool, stdin io.Reader, command ...string) (int, string, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	size := make(chan api.TerminalSize, 1)
	if tty {
		size <- api.TerminalSize{Height: 33, Width: 111}
	}
	code, err := w.client.Allocations().Exec(ctx, w.allocs[job], task, tty, command, stdin, &stdout, &stderr, size, nil)
	return code, stdout.String(), stderr.String(), err
}

func execPlain(w *world) error {
	code, stdout, stderr, err := exec(w, "chatter", "talk", false, strings.NewReader("through the gate\n"), "/bin/sh", "-c", "cat; echo aside >&2; exit 5")
	if err != nil {
		return err
	}
	return want("all of it and the exit code", code == 5 && stdout == "through the gate\n" && stderr == "aside\n", []any{code, stdout, stderr})
}

func execTerminal(w *world) error {
	stdin, hold := io.Pipe()
	defer hold.Close()
	code, stdout, _, err := exec(w, "chatter", "talk", true, stdin, "/bin/sh", "-c", "sleep 0.5; stty size; tty; exit 3")
	if err != nil {
		return err
	}
	return want("a terminal of that size, and the exit code", code == 3 && strings.Contains(stdout, "33 111") && strings.Contains(stdout, "/dev/pts/"), []any{code, stdout})
}

func execMissing(w *world) error {
	_, _, _, err := exec(w, "chatter", "nope", false, strings.NewReader(""), "/bin/true")
	return want("a refusal", err != nil && strings.Contains(err.Error(), "task not found"), err)
}

func allocStats(w *world) error {
	stats, err := w.client.Allocations().Stats(w.allocs["web"], nil)
	if err != nil {
		return err
	}
	task := stats.Tasks["server"]
	return want("memory of the task", task != nil && task.ResourceUsage.MemoryStats.RSS > 0, stats)
}

func services(w *world) error {
	found, _, err := w.client.Allocations().Services(w.allocs["web"].ID, nil)
	if err != nil {
		return err
	}
	if err := want("the service web", len(found) == 1 && found[0].ServiceName == "web" && found[0].Port > 0, found); err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for {
		results, err := w.client.Allocations().Checks(w.allocs["web"].ID, nil)
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
		if time.Now().After(deadline) {
			return fmt.Errorf("the checks do not pass: %v", results)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func search(w *world) error {
	found, _, err := w.client.Search().PrefixSearch(w.allocs["web"].ID[:6], "allocs", nil)
	if err != nil {
		return err
	}
	if err := want("the allocation", len(found.Matches["allocs"]) == 1, found.Matches); err != nil {
		return err
	}
	found, _, err = w.client.Search().PrefixSearch(w.node.ID[:6], "nodes", nil)
	if err != nil {
		return err
	}
	return want("the node", len(found.Matches["nodes"]) == 1, found.Matches)
}

func jobs(w *world) error {
	list, _, err := w.client.Jobs().List(&api.QueryOptions{Namespace: "*"})
	if err != nil {
		return err
	}
	if err := want("four", len(list) == 4, len(list)); err != nil {
		return err
	}
	job, _, err := w.client.Jobs().Info("web", nil)
	if err != nil {
		return err
	}
	if err := want("its group", len(job.TaskGroups) == 1 && *job.TaskGroups[0].Name == "site", job); err != nil {
		return err
	}
	own, _, err := w.client.Jobs().Allocations("web", true, nil)
	if err != nil {
		return err
	}
	return want("its allocation", len(own) == 1 && own[0].ID == w.allocs["web"].ID, own)
}

func signal(w *world) error {
	if err := w.client.Allocations().Signal(w.allocs["chatter"], nil, "talk", "SIGUSR1"); err != nil {
		return err
	}
	_, err := collectLogs(w, "chatter", "talk", "stdout", true, func(text string) bool { return strings.Contains(text, "got SIGUSR1") })
	return err
}

func restart(w *world) error {
	if err := w.client.Allocations().Restart(w.allocs["chatter"], "talk", nil); err != nil {
		return err
	}
	_, err := collectLogs(w, "chatter", "talk", "stdout", true, func(text string) bool {
		_, after, found := strings.Cut(text, "talk: goodbye\n")
		return found && strings.Contains(after, "talk: line 1\n")
	})
	return err
}

func stop(w *world) error {
	answer, err := w.client.Allocations().Stop(w.allocs["ledger"], nil)
	if err != nil {
		return err
	}
	evaluation, _, err := w.client.Evaluations().Info(answer.EvalID, nil)
	if err != nil {
		return err
	}
	if err := want("an evaluation that is complete", evaluation.Status == "complete" && evaluation.Namespace == "finance", evaluation); err != nil {
		return err
	}
	var index uint64
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		alloc, meta, err := w.client.Allocations().Info(w.allocs["ledger"].ID, &api.QueryOptions{WaitIndex: index, WaitTime: time.Second})
		if err != nil {
			return err
		}
		if alloc.ClientStatus == "complete" {
			return want("stopped on purpose", alloc.DesiredStatus == "stop", alloc.DesiredStatus)
		}
		index = meta.LastIndex
	}
	return errors.New("it did not end")
}

// Allocations().GC wants a document where Nomad sends none, so it fails against every Nomad.
func collect(w *world) error {
	if err := w.client.Nodes().GcAlloc(w.allocs["report"].ID, nil); err != nil {
		return err
	}
	_, err := readAll(w.client.AllocFS().Cat(w.allocs["report"], "alloc/data/result.txt", nil))
	if err := want("its files are gone", err != nil && strings.Contains(err.Error(), "not found"), err); err != nil {
		return err
	}
	return w.client.Nodes().GC(w.node.ID, nil)
}

func badToken(w *world) error {
	config := api.DefaultConfig()
	config.SecretID = "00000000-0000-4000-8000-00000000000f"
	client, err := api.NewClient(config)
	if err != nil {
		return err
	}
	_, err = readAll(client.AllocFS().Cat(w.allocs["web"], "alloc/data/hello.txt", nil))
	return want("403 Permission denied", err != nil && strings.Contains(err.Error(), "403 (Permission denied)"), err)
}
