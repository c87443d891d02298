output "bootstrap_address" {
  description = "bootstrap.servers for Kafka clients."
  value       = "${aws_lb.kafka.dns_name}:${local.kafka_port}"
}

output "bucket" {
  description = "The bucket, as --bucket takes it."
  value       = local.bucket_url
}

output "coordinator_addresses" {
  description = "Fixed private addresses of the coordinators, by their numbers."
  value       = { for number, n in aws_network_interface.coordinator : number => n.private_ip }
}

output "peers" {
  description = "The coordinators, as --peers takes them; empty where there is one."
  value       = local.peers
}

output "role_arns" {
  description = "IAM role of each Varve role."
  value       = { for role in local.roles : role => aws_iam_role.this[role].arn }
}

output "security_group_ids" {
  description = "Security group of each Varve role and of the balancer."
  value       = { for k, g in aws_security_group.role : k => g.id }
}

output "vpc_id" {
  description = "The VPC, created or given."
  value       = local.vpc_id
}

output "subnet_ids" {
  description = "The private subnets, created or given."
  value       = local.subnet_ids
}

output "user_data" {
  description = "User data of each coordinator and of the other roles, for inspection and tests."
  value       = local.user_data
}
