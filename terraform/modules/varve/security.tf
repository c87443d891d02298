# Who may open a connection to whom. Everything else is refused.
#
#   clients ───9092──▶ balancer ──9092, 8080 (health)──▶ ingest
#   clients ───9092──────────────────────────────────▶ ingest      (advertised addresses are the nodes')
#   ingest, tiering ──9644, 4222──▶ coordinators
#   coordinators ──9644, 6222 (NATS routes)──▶ coordinators
#   coordinators ──9644──▶ ingest                                  (who has died, at once)
#   ingest, tiering ──9644──▶ ingest                                (hot log reads)
#   monitoring ──8080──▶ all roles
#   all roles ──443──▶ S3 and whatever the binary comes from

resource "aws_security_group" "role" {
  for_each    = toset(concat(local.roles, ["balancer"]))
  name        = "${var.name}-${each.key}"
  description = "Varve ${each.key} of cluster ${var.name}"
  vpc_id      = local.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-${each.key}" })
}

locals {
  between_coordinators = var.coordinator_count == 1 ? {} : {
    coordinator-coordinator-internal = { from = "coordinator", to = "coordinator", port = local.internal_port }
    coordinator-coordinator-routes   = { from = "coordinator", to = "coordinator", port = local.route_port }
  }

  between_roles = merge(local.between_coordinators, {
    coordinator-ingest-internal  = { from = "coordinator", to = "ingest", port = local.internal_port }
    ingest-coordinator-internal  = { from = "ingest", to = "coordinator", port = local.internal_port }
    ingest-coordinator-nats      = { from = "ingest", to = "coordinator", port = local.nats_port }
    tiering-coordinator-internal = { from = "tiering", to = "coordinator", port = local.internal_port }
    tiering-coordinator-nats     = { from = "tiering", to = "coordinator", port = local.nats_port }
    ingest-ingest-internal       = { from = "ingest", to = "ingest", port = local.internal_port }
    tiering-ingest-internal      = { from = "tiering", to = "ingest", port = local.internal_port }
    balancer-ingest-kafka        = { from = "balancer", to = "ingest", port = local.kafka_port }
    balancer-ingest-health       = { from = "balancer", to = "ingest", port = local.http_port }
  })

  client_networks = { for pair in setproduct(["ingest", "balancer"], var.client_cidr_blocks) : "${pair[0]}-${pair[1]}" => { to = pair[0], cidr = pair[1] } }
  # Keyed by place: a group's id may be unknown until it is created.
  client_groups = { for pair in setproduct(["ingest", "balancer"], range(length(var.client_security_group_ids))) : "${pair[0]}-${pair[1]}" => { to = pair[0], index = pair[1] } }
  monitoring    = { for pair in setproduct(local.roles, range(length(var.monitoring_security_group_ids))) : "${pair[0]}-${pair[1]}" => { to = pair[0], index = pair[1] } }
}

resource "aws_vpc_security_group_ingress_rule" "between_roles" {
  for_each                     = local.between_roles
  security_group_id            = aws_security_group.role[each.value.to].id
  referenced_security_group_id = aws_security_group.role[each.value.from].id
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "between_roles" {
  for_each                     = local.between_roles
  security_group_id            = aws_security_group.role[each.value.from].id
  referenced_security_group_id = aws_security_group.role[each.value.to].id
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "client_network" {
  for_each          = local.client_networks
  security_group_id = aws_security_group.role[each.value.to].id
  cidr_ipv4         = each.value.cidr
  description       = "Kafka clients"
  ip_protocol       = "tcp"
  from_port         = local.kafka_port
  to_port           = local.kafka_port
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "client_group" {
  for_each                     = local.client_groups
  security_group_id            = aws_security_group.role[each.value.to].id
  referenced_security_group_id = var.client_security_group_ids[each.value.index]
  description                  = "Kafka clients"
  ip_protocol                  = "tcp"
  from_port                    = local.kafka_port
  to_port                      = local.kafka_port
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "monitoring" {
  for_each                     = local.monitoring
  security_group_id            = aws_security_group.role[each.value.to].id
  referenced_security_group_id = var.monitoring_security_group_ids[each.value.index]
  description                  = "Metrics and health"
  ip_protocol                  = "tcp"
  from_port                    = local.http_port
  to_port                      = local.http_port
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "https" {
  for_each          = toset(local.roles)
  security_group_id = aws_security_group.role[each.key].id
  cidr_ipv4         = local.create_vpc ? null : "0.0.0.0/0"
  prefix_list_id    = local.create_vpc ? aws_vpc_endpoint.s3[0].prefix_list_id : null
  description       = local.create_vpc ? "S3 through the gateway endpoint" : "S3, SSM and the source of the binary"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = local.tags
}
