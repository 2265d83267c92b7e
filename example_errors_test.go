package wxqrcode_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// What to do about an error, by its kind.
func ExampleAPIError() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	client := wechat.Client()

	for _, code := range []int{40164, 45029, 45009, 48001} {
		wechat.Fail("qrcode/create", 1, wxtest.Failure{
			Body: fmt.Sprintf(`{"errcode":%d,"errmsg":"invalid ip 1.2.3.4 rid: 5f69b2e4-53f3fc1f-093ca3a3"}`, code),
		})
		_, err := client.Create(context.Background(), wxqrcode.Permanent(wxqrcode.SceneID(7)))
		api, _ := errors.AsType[*wxqrcode.APIError](err)
		switch {
		case errors.Is(err, wxqrcode.ErrQuotaExceeded) && api.Code == 45029:
			fmt.Println("no permanent codes left: use temporary ones")
		case errors.Is(err, wxqrcode.ErrQuotaExceeded), errors.Is(err, wxqrcode.ErrRateLimited):
			fmt.Println("wait")
		case errors.Is(err, wxqrcode.ErrInvalidRequest):
			fmt.Println("a bug, or a scene that somebody typed")
		case errors.Is(err, wxqrcode.ErrIPNotAllowed):
			fmt.Println(err)
		case api != nil:
			fmt.Println("ask WeChat about", api.Code, api.RequestID)
		}
	}
	// Output:
	// wxqrcode: create: errcode 40164: invalid ip 1.2.3.4: add 1.2.3.4 to the account's IP allowlist (开发接口管理 > IP白名单) (rid 5f69b2e4-53f3fc1f-093ca3a3)
	// no permanent codes left: use temporary ones
	// wait
	// ask WeChat about 48001 5f69b2e4-53f3fc1f-093ca3a3
}
