package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// A job of its own: it does nothing, for long.
func idle(w *world) *api.Job {
	task := api.NewTask("idle", "raw_exec").SetConfig("command", "/bin/sleep").SetConfig("args", []string{"600"})
	cpu, memory := 20, 20
	task.Resources = &api.Resources{CPU: &cpu, MemoryMB: &memory}
	id := w.Talker.Job + "-new"
	return api.NewBatchJob(id, id, "global", 50).AddDatacenter("*").AddTaskGroup(api.NewTaskGroup("main", 1).AddTask(task))
}

func jobsChange(w *world) error {
	job := idle(w)
	valid, _, err := w.client.Jobs().Validate(job, nil)
	if err != nil {
		return err
	}
	plan, _, err := w.client.Jobs().Plan(job, true, nil)
	if err != nil {
		return err
	}
	registered, _, err := w.client.Jobs().Register(job, nil)
	if err != nil {
		return err
	}
	w.see(valid, plan.Diff, plan.Annotations, registered.Warnings)
	if err := evaluated(w, registered.EvalID, "default"); err != nil {
		return err
	}
	_, _, enforced := w.client.Jobs().EnforceRegister(job, 1, nil)
	none := api.NewBatchJob("", "", "global", 50)
	_, _, refused := w.client.Jobs().Register(none, nil)
	if err := want("refusals", enforced != nil && refused != nil, []any{enforced, refused}); err != nil {
		return err
	}
	w.see(refused)
	evaluations, _, err := w.client.Evaluations().List(&api.QueryOptions{Filter: `JobID == "` + *job.ID + `"`})
	if err != nil {
		return err
	}
	placed, _, err := w.client.Evaluations().Allocations(registered.EvalID, nil)
	if err != nil {
		return err
	}
	w.see(len(evaluations), len(placed))
	id, _, err := w.client.Jobs().Deregister(*job.ID, true, nil)
	if err != nil {
		return err
	}
	if err := evaluated(w, id, "default"); err != nil {
		return err
	}
	_, _, gone := w.client.Jobs().Info(*job.ID, nil)
	w.see(gone)
	return want("it is gone", gone != nil && strings.Contains(gone.Error(), "404 (job not found)"), gone)
}

// The events of the job that jobsChange made, from the beginning, until it was purged.
func events(w *world) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	topics := map[api.Topic][]string{api.TopicJob: {w.Talker.Job + "-new"}}
	came, err := w.client.EventStream().Stream(ctx, topics, 1, nil)
	if err != nil {
		return err
	}
	for batch := range came {
		if batch.Err != nil {
			return batch.Err
		}
		for _, event := range batch.Events {
			w.see(fmt.Sprintf("%s %s %s", event.Topic, event.Type, event.Key))
			if event.Type == "JobDeregistered" {
				return nil
			}
		}
	}
	return errors.New("the end of the job was not told")
}
