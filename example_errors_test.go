package wxqrcode_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/seed-0142d113/wxqrcode"
	"github.com/seed-0142d113/wxqrcode/wxtest"
)

// Test errors with errors.Is and the variables of this package. An APIError has
// the details.
func ExampleAPIError() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	client := wechat.Client() // in your program: wxqrcode.New

	const rid = "rid: 5f69b2e4-53f3fc1f-093ca3a3"
	for _, code := range []int{40164, 45029, 45009, 48001} {
		wechat.Fail(wxtest.EndpointCreate, 1, wxtest.Failure{
			Body: fmt.Sprintf(`{"errcode":%d,"errmsg":"invalid ip 1.2.3.4 %s"}`, code, rid),
		})
		_, err := client.Create(context.Background(), wxqrcode.Permanent(wxqrcode.SceneID(7)))
		apiErr, _ := errors.AsType[*wxqrcode.APIError](err)
		switch {
		case errors.Is(err, wxqrcode.ErrIPNotAllowed):
			fmt.Println(err)
		case errors.Is(err, wxqrcode.ErrQuotaExceeded) && apiErr.Code == 45029:
			fmt.Println("no permanent codes left: use temporary ones")
		case errors.Is(err, wxqrcode.ErrQuotaExceeded):
			fmt.Println("the quota resets at", apiErr.RetryAt.Format("15:04 MST"))
		case apiErr != nil:
			fmt.Println("ask WeChat about", apiErr.Code, apiErr.RequestID)
		}
	}
	// Output:
	// wxqrcode: create: errcode 40164: invalid ip 1.2.3.4; add 1.2.3.4 to the IP allowlist of the account (微信开发者平台 > 基础信息 > IP白名单) (rid 5f69b2e4-53f3fc1f-093ca3a3)
	// no permanent codes left: use temporary ones
	// the quota resets at 00:00 CST
	// ask WeChat about 48001 5f69b2e4-53f3fc1f-093ca3a3
}

// A proxy responds instead of WeChat.
func ExampleResponseError() {
	wechat := wxtest.NewServer()
	defer wechat.Close()
	client := wechat.Client() // in your program: wxqrcode.New

	wechat.Fail(wxtest.EndpointCreate, 1, wxtest.Failure{Status: http.StatusForbidden, Body: "<h1>Please log in</h1>"})
	_, err := client.Create(context.Background(), wxqrcode.Permanent(wxqrcode.SceneID(7)))
	if e, ok := errors.AsType[*wxqrcode.ResponseError](err); ok {
		fmt.Println(e.HTTPStatus, e.Length)
	}
	fmt.Println(errors.Is(err, wxqrcode.ErrUnexpectedResponse))
	// Output:
	// 403 22
	// true
}

// A ValidationError names the value that a user may correct.
func ExampleValidationError() {
	request := wxqrcode.Permanent(wxqrcode.SceneStr("one\ntwo"))
	if e, ok := errors.AsType[*wxqrcode.ValidationError](request.Validate()); ok {
		fmt.Println(e.Field, e.Reason)
	}
	_, err := wxqrcode.New("", "")
	fmt.Println(errors.Is(err, wxqrcode.ErrInvalidConfig), err)
	// Output:
	// scene_str must not contain the control character U+000A
	// true wxqrcode: invalid AppID: must not be empty, or begin or end with white space
}
