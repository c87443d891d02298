# A VPC created here has private subnets only, and one way out: to S3, through a
# gateway endpoint. Clients come from peered networks or from the VPC itself.

data "aws_availability_zones" "available" {
  count = local.create_vpc ? 1 : 0
  state = "available"
}

data "aws_subnet" "coordinator" {
  count = local.create_vpc ? 0 : var.coordinator_count
  id    = var.subnet_ids[count.index]
}

locals {
  create_vpc = var.vpc_id == null
  zones      = local.create_vpc ? slice(data.aws_availability_zones.available[0].names, 0, var.zone_count) : []

  vpc_id            = local.create_vpc ? aws_vpc.this[0].id : var.vpc_id
  subnet_ids        = local.create_vpc ? aws_subnet.private[*].id : var.subnet_ids
  coordinator_zones = local.create_vpc ? local.zones : data.aws_subnet.coordinator[*].availability_zone
}

resource "aws_vpc" "this" {
  count                = local.create_vpc ? 1 : 0
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(local.tags, { Name = var.name })
}

resource "aws_subnet" "private" {
  count                   = local.create_vpc ? var.zone_count : 0
  vpc_id                  = aws_vpc.this[0].id
  availability_zone       = local.zones[count.index]
  cidr_block              = cidrsubnet(var.vpc_cidr, 4, count.index)
  map_public_ip_on_launch = false
  tags                    = merge(local.tags, { Name = "${var.name}-${local.zones[count.index]}" })
}

resource "aws_route_table" "private" {
  count  = local.create_vpc ? 1 : 0
  vpc_id = aws_vpc.this[0].id
  tags   = merge(local.tags, { Name = "${var.name}-private" })
}

resource "aws_route_table_association" "private" {
  count          = local.create_vpc ? var.zone_count : 0
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private[0].id
}

resource "aws_vpc_endpoint" "s3" {
  count             = local.create_vpc ? 1 : 0
  vpc_id            = aws_vpc.this[0].id
  service_name      = "com.amazonaws.${local.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private[0].id]
  tags              = merge(local.tags, { Name = "${var.name}-s3" })
}
