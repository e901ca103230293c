# `serai connect` on every client of the cluster, beside its agent. Put the join token there first, made at the gateway with
# `serai token join --uses <number of nodes> --file <acl.join_tokens_file>`:
#
#   nomad var put nomad/jobs/serai-connect join_token=<token>
#   nomad job run -var 'gateways=["https://gateway-1:4646"]' deploy/nomad/serai-connect.nomad.hcl
#
# Nodes with certificates of their own (docs/tunnel.md, "Who may join") need no token: take its template and variable out, and
# put "cert_file" and "key_file" into the entry of "agents" below.

variable "gateways" {
  type        = list(string)
  description = "Gateways to keep a tunnel to, in turn."
}

variable "datacenters" {
  type    = list(string)
  default = ["*"]
}

variable "agent_address" {
  type        = string
  default     = "127.0.0.1:4646"
  description = "Where the client's HTTP API listens, as seen on its own machine."
}

job "serai-connect" {
  type        = "system"
  datacenters = var.datacenters

  group "connect" {
    restart {
      interval = "1m"
      attempts = 5
      delay    = "5s"
      mode     = "delay"
    }

    task "connect" {
      # It needs the machine's loopback, and the serai package installed there.
      driver       = "raw_exec"
      kill_timeout = "15s" # longer than `drain`
      kill_signal  = "SIGTERM"

      config {
        command = "/usr/local/bin/serai"
        args    = ["connect", "--config", "${NOMAD_TASK_DIR}/connect.json"]
      }

      env {
        NODE_ENV                      = "production"
        SERAI_CONNECT_JOIN_TOKEN_FILE = "${NOMAD_SECRETS_DIR}/join-token"
      }

      template {
        destination = "local/connect.json"
        data        = <<-EOT
          {
            "name": "{{ env "node.unique.name" }}",
            "gateways": ${jsonencode(var.gateways)},
            "agents": [{ "node_id": "{{ env "node.unique.id" }}", "address": "${var.agent_address}" }]
          }
        EOT
      }

      template {
        destination = "secrets/join-token"
        perms       = "600"
        data        = "{{ with nomadVar \"nomad/jobs/serai-connect\" }}{{ .join_token }}{{ end }}\n"
      }

      resources {
        cpu        = 50
        memory     = 128
        memory_max = 256
      }
    }
  }
}
