module github.com/seed-0142d113/wxqrcode

go 1.26.0

require (
	github.com/jarcoal/httpmock v1.4.2
	github.com/stretchr/testify v1.12.1
	rsc.io/qr v0.2.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
