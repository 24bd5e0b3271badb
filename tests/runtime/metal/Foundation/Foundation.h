#pragma once
// What device.mm uses of Foundation, for a syntax check where there is no Objective-C library.
#define nil nullptr
using NSUInteger = unsigned long;

__attribute__((objc_root_class)) @interface NSObject
@end
@interface NSString : NSObject
+ (NSString*)stringWithUTF8String:(const char*)bytes;
- (const char*)UTF8String;
- (NSString*)stringByDeletingLastPathComponent;
- (NSString*)stringByAppendingPathComponent:(NSString*)name;
@end
@interface NSError : NSObject
- (NSString*)localizedDescription;
@end
@interface NSURL : NSObject
+ (NSURL*)fileURLWithPath:(NSString*)path;
@end
@interface NSBundle : NSObject
+ (NSBundle*)mainBundle;
- (NSString*)executablePath;
@end
