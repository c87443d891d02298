package stub

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/varvelog/varve/terraform/schemacheck/schema"
)

// A server answers the calls that Terraform makes to plan, apply and test
// resources and data sources. The calls it lacks (import, state moves, provider
// functions) belong to the embedded nil interface.
type server struct {
	tfprotov5.ProviderServer
	provider schema.Provider
	known    bool
	answer   *tfprotov5.GetProviderSchemaResponse
	types    map[string]tftypes.Type // of resources
	dataType map[string]tftypes.Type
}

// Serve answers Terraform on the standard streams until it hangs up. A plan
// leaves computed values unknown, as the real provider does; with known they
// are invented there already, so that tests can assert on what refers to them.
func Serve(p schema.Provider, known bool) error {
	s, err := newServer(p, known)
	if err != nil {
		return err
	}
	return tf5server.Serve(schema.Address, func() tfprotov5.ProviderServer { return s })
}

func newServer(p schema.Provider, known bool) (*server, error) {
	s := &server{provider: p, known: known, types: map[string]tftypes.Type{}, dataType: map[string]tftypes.Type{}}
	config, err := p.Config.Proto()
	if err != nil {
		return nil, fmt.Errorf("convert provider schema: %w", err)
	}
	s.answer = &tfprotov5.GetProviderSchemaResponse{
		ServerCapabilities: &tfprotov5.ServerCapabilities{},
		Provider:           config,
		ResourceSchemas:    map[string]*tfprotov5.Schema{},
		DataSourceSchemas:  map[string]*tfprotov5.Schema{},
	}
	for name, r := range p.Resources {
		proto, err := r.Proto()
		if err != nil {
			return nil, fmt.Errorf("convert schema of resource %s: %w", name, err)
		}
		s.answer.ResourceSchemas[name], s.types[name] = proto, proto.ValueType()
	}
	for name, d := range p.Data {
		proto, err := d.Proto()
		if err != nil {
			return nil, fmt.Errorf("convert schema of data source %s: %w", name, err)
		}
		s.answer.DataSourceSchemas[name], s.dataType[name] = proto, proto.ValueType()
	}
	return s, nil
}

func (s *server) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	return nil, errors.New("GetMetadata is answered by GetProviderSchema")
}

func (s *server) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return s.answer, nil
}

func (s *server) GetResourceIdentitySchemas(context.Context, *tfprotov5.GetResourceIdentitySchemasRequest) (*tfprotov5.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov5.GetResourceIdentitySchemasResponse{}, nil
}

func (s *server) GetFunctions(context.Context, *tfprotov5.GetFunctionsRequest) (*tfprotov5.GetFunctionsResponse, error) {
	return &tfprotov5.GetFunctionsResponse{}, nil
}

func (s *server) PrepareProviderConfig(_ context.Context, r *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (s *server) ConfigureProvider(context.Context, *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	return &tfprotov5.ConfigureProviderResponse{}, nil
}

func (s *server) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func (s *server) ValidateResourceTypeConfig(_ context.Context, r *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	v, err := r.Config.Unmarshal(s.types[r.TypeName])
	if err != nil {
		return nil, fmt.Errorf("decode configuration of %s: %w", r.TypeName, err)
	}
	return &tfprotov5.ValidateResourceTypeConfigResponse{Diagnostics: check(r.TypeName, v)}, nil
}

func (s *server) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (s *server) UpgradeResourceState(_ context.Context, r *tfprotov5.UpgradeResourceStateRequest) (*tfprotov5.UpgradeResourceStateResponse, error) {
	typ := s.types[r.TypeName]
	v, err := r.RawState.Unmarshal(typ)
	if err != nil {
		return nil, fmt.Errorf("decode state of %s: %w", r.TypeName, err)
	}
	d, err := tfprotov5.NewDynamicValue(typ, v)
	return &tfprotov5.UpgradeResourceStateResponse{UpgradedState: &d}, err
}

func (s *server) ReadResource(_ context.Context, r *tfprotov5.ReadResourceRequest) (*tfprotov5.ReadResourceResponse, error) {
	return &tfprotov5.ReadResourceResponse{NewState: r.CurrentState, Private: r.Private}, nil
}

func (s *server) PlanResourceChange(_ context.Context, r *tfprotov5.PlanResourceChangeRequest) (*tfprotov5.PlanResourceChangeResponse, error) {
	block := s.provider.Resources[r.TypeName].Block
	planned, err := rewrite(r.ProposedNewState, s.types[r.TypeName], func(v tftypes.Value) (tftypes.Value, error) {
		m := newMaker(r.TypeName, v)
		return fillComputed(block, v, func(name string, typ tftypes.Type) tftypes.Value {
			if s.known {
				return m.value(name, typ)
			}
			return tftypes.NewValue(typ, tftypes.UnknownValue)
		})
	})
	// The SDK that the AWS provider is written with claims this licence too.
	return &tfprotov5.PlanResourceChangeResponse{PlannedState: planned, PlannedPrivate: r.PriorPrivate, UnsafeToUseLegacyTypeSystem: true}, err
}

func (s *server) ApplyResourceChange(_ context.Context, r *tfprotov5.ApplyResourceChangeRequest) (*tfprotov5.ApplyResourceChangeResponse, error) {
	applied, err := rewrite(r.PlannedState, s.types[r.TypeName], func(v tftypes.Value) (tftypes.Value, error) {
		m := newMaker(r.TypeName, v)
		return tftypes.Transform(v, func(path *tftypes.AttributePath, v tftypes.Value) (tftypes.Value, error) {
			if v.IsKnown() {
				return v, nil
			}
			return m.value(attributeName(path), v.Type()), nil
		})
	})
	return &tfprotov5.ApplyResourceChangeResponse{NewState: applied, Private: r.PlannedPrivate, UnsafeToUseLegacyTypeSystem: true}, err
}

func (s *server) ReadDataSource(_ context.Context, r *tfprotov5.ReadDataSourceRequest) (*tfprotov5.ReadDataSourceResponse, error) {
	block := s.provider.Data[r.TypeName].Block
	state, err := rewrite(r.Config, s.dataType[r.TypeName], func(v tftypes.Value) (tftypes.Value, error) {
		return fillComputed(block, v, newMaker(r.TypeName, v).value)
	})
	return &tfprotov5.ReadDataSourceResponse{State: state}, err
}
